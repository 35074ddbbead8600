"""An exported folder, opened as anyone would, gives the logits of the trained model."""

import io

import pytest
import torch
from PIL import Image

from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.batch import Inputs
from pretrain.checkpoint import fetched, newest
from pretrain.loader import decoded, stack_images
from pretrain.session import fresh_model, stored_recipe
from pretrain.tokenize import Tokenizer
from pretrain.transform import centred
from pretrain.zero import consolidated


@pytest.fixture(scope="module")
def run(scenes, settings_of, ranks_once, tmp_path_factory):
    """A short run in bf16 over two ranks: masters are float32, and the export holds the masters."""
    folder = str(tmp_path_factory.mktemp("export") / "run")
    settings = settings_of(scenes, precision="bf16", zero__stage=2, steps=4, model__vision__activation="quick_gelu")
    ranks_once("trains", 2, jobs=[(settings, folder)])
    return Store(folder)


@pytest.fixture(scope="module")
def trained(run):
    """The trained DualEncoder in float32, from the checkpoint."""
    recipe, checkpoint = stored_recipe(run), newest(run)
    tokenizer = Tokenizer(run.local_path("tokenizer"), recipe.model.text.context_tokens)
    model = fresh_model(recipe, tokenizer.vocabulary)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with fetched(run, checkpoint) as folder:
        model.load_state_dict(consolidated(folder, checkpoint.stage))
    assert all((before[name] != parameter).any() for name, parameter in model.named_parameters()), "not all trained"
    return model.eval(), tokenizer


def test_logits_from_bytes_and_words_equal_the_trained_models(run, trained, scenes):
    from transformers import AutoTokenizer, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    examples = ShardReader(scenes, "validation").read(range(24))
    texts = [example.texts[0] for example in examples] + ["", "an unseen word, and " * 20]
    model, our_tokenizer = trained
    with torch.no_grad():
        images = stack_images([centred(decoded(example), 16) for example in examples])
        features = model(Inputs(images, our_tokenizer(texts)))
        ours = features.scale * features.image_BD @ features.text_BD.T

    folder = run.path("export")
    clip, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pictures = [Image.open(io.BytesIO(example.media)) for example in examples]
    inputs = dict(processor(images=pictures, return_tensors="pt"))
    inputs |= dict(tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))
    with torch.no_grad():
        theirs = clip(**{name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values")})
    error = (theirs.logits_per_image - ours).abs().max()
    assert ours.shape == (24, 26)
    assert ours.std() > 1e-2, "the logits say nothing"
    assert error <= 1e-5, error


def test_the_card_tells_where_the_model_comes_from(run, scenes):
    card = run.read_bytes("export/README.md").decode()
    recipe = stored_recipe(run)
    for fact in (ShardReader(scenes, "train").fingerprint, recipe.digest(), "4 of 4", "48 samples seen", scenes):
        assert fact in card
    assert "text_to_image_r10_chance" in card


def test_the_folder_holds_safetensors_and_nothing_pickled(run):
    names = set(run.list("export"))
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    assert wanted | {"tokenizer.json", "tokenizer_config.json"} == names
