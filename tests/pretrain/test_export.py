"""An exported folder, opened as anyone would, gives the logits of the trained model."""

import io

import pytest
import torch
from PIL import Image

from pipeline.errors import RecipeError
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
def runs(scenes, settings_of, ranks_once, tmp_path_factory):
    """Short runs in bf16 over two ranks: masters are float32, and the export holds the masters."""
    folder = tmp_path_factory.mktemp("export")
    short = {"precision": "bf16", "zero__stage": 2, "steps": 4}
    siglip = {
        "model__vision__pooling": "attention",
        "model__text__pooling": "last",
        "model__text__activation": "gelu_pytorch_tanh",
        "model__initial_bias": -10.0,
        "objective": {"sigmoid": {"false_negatives": "mask"}},
    }
    changes = {"clip": {"model__vision__activation": "quick_gelu"}, "siglip": siglip}
    jobs = [(settings_of(scenes, **short, **changes[kind]), str(folder / kind)) for kind in changes]
    ranks_once("trains", 2, jobs=jobs)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def run(request, runs):
    return Store(str(runs / request.param))


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
    from transformers import AutoModel, AutoTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    examples = ShardReader(scenes, "validation").read(range(24))
    texts = [example.texts[0] for example in examples] + ["", "an unseen word, and " * 20]
    model, our_tokenizer = trained
    with torch.no_grad():
        images = stack_images([centred(decoded(example), 16) for example in examples])
        features = model(Inputs(images, our_tokenizer(texts)))
        ours = features.scale * features.image_BD @ features.text_BD.T
        ours = ours if features.bias is None else ours + features.bias

    folder = run.path("export")
    opened, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    is_siglip = features.bias is not None
    assert type(opened).__name__ == ("SiglipModel" if is_siglip else "CLIPModel")
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pictures = [Image.open(io.BytesIO(example.media)) for example in examples]
    inputs = dict(processor(images=pictures, return_tensors="pt"))
    inputs |= dict(tokenizer(texts, padding="max_length" if is_siglip else True, truncation=True, return_tensors="pt"))
    names = ("input_ids", "pixel_values") if is_siglip else ("input_ids", "attention_mask", "pixel_values")
    with torch.no_grad():
        theirs = opened(**{name: inputs[name] for name in names})
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


def test_a_run_begins_with_the_weights_of_a_folder(run, trained):
    """`model.init` takes an export back, whatever class it is of."""
    recipe = stored_recipe(run)
    again = recipe.model_copy(update={"model": recipe.model.model_copy(update={"init": run.path("export")})})
    model, tokenizer = trained
    found = fresh_model(again, tokenizer.vocabulary).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


def test_weights_of_another_size_are_refused_by_name(run, trained):
    recipe = stored_recipe(run)
    text = recipe.model.text.model_copy(update={"context_tokens": 9})
    changed = recipe.model.model_copy(update={"init": run.path("export"), "text": text})
    with pytest.raises(RecipeError, match=r"position_embedding.*\(16, 16\).*\(9, 16\)"):
        fresh_model(recipe.model_copy(update={"model": changed}), trained[1].vocabulary)
    nowhere = recipe.model.model_copy(update={"init": "nowhere"})
    with pytest.raises(RecipeError, match=r"model\.init nowhere"):
        fresh_model(recipe.model_copy(update={"model": nowhere}), trained[1].vocabulary)
