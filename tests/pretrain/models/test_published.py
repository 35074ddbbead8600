"""Published recipes have published sizes, counted without memory."""

import pytest
import torch

from pipeline.recipe import load
from pretrain.encoders.text import Vocabulary
from pretrain.models.table import build_model
from pretrain.recipe import TrainingRecipe


def built(name, *, heads=None):
    recipe = load(TrainingRecipe, name, package="pretrain")
    vocabulary = Vocabulary(recipe.tokenizer.vocabulary, 101, 102, 0)
    with torch.device("meta"):
        return build_model(recipe.model, vocabulary, recipe.objective.needs().keys() if heads is None else heads)


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_vilt_has_the_parameters_of_transformers_vilt():
    from transformers import ViltConfig, ViltModel

    with torch.device("meta"):
        theirs = ViltModel(ViltConfig())
    assert count(built("vilt-b32", heads=frozenset())) == count(theirs) == 111_595_008


def test_albef_has_its_published_sizes():
    """Li et al. 2021, section 4.1: BERT-base of 123.7 million parameters and ViT-B/16 of 85.8 million."""
    model = built("albef-b16")
    assert count(model.images) / 1e6 == pytest.approx(85.8, abs=0.1)
    assert count(model.words, model.fusion, model.pair_words) / 1e6 == pytest.approx(123.7, rel=0.005)


def test_flava_has_the_encoders_of_transformers_flava():
    """Text and image encoders to the parameter, but for the pooler that theirs have and ours have not."""
    from transformers import FlavaImageModel, FlavaTextModel
    from transformers.models.flava.configuration_flava import FlavaImageConfig, FlavaTextConfig

    model = built("flava-b16")
    with torch.device("meta"):
        image = FlavaImageModel(FlavaImageConfig(), add_pooling_layer=False)
        text = FlavaTextModel(FlavaTextConfig(max_position_embeddings=77), add_pooling_layer=False)
    assert count(model.images) == count(image)
    norm = 2 * 768  # the last norm of their text encoder, which is pre-norm
    assert count(model.words) == count(text) - norm


def test_blip_shares_all_but_self_attention_with_its_decoder():
    """Li et al. 2022, section 3.1; transformers' text model in the same size has as many, less the decoder's own."""
    from transformers import BlipTextConfig, BlipTextModel

    model = built("blip-b16")
    with torch.device("meta"):
        config = BlipTextConfig(vocab_size=30524, encoder_hidden_size=768, max_position_embeddings=40)
        theirs = BlipTextModel(config, add_pooling_layer=False)
    kinds = 2 * 768  # BERT's two kinds of segment, which BLIP leaves out
    assert count(model.words) - count(model.words.causal) - kinds == count(theirs)


def test_coca_is_near_the_published_size():
    """OpenCLIP's coca_ViT-B-32 has 253.6 million, with MLPs after its cross-attention and a second word matrix."""
    mlps, words = 12 * (2 * 512 * 2048 + 2048 + 512), 49408 * 512
    assert (count(built("coca-b32")) + mlps + words) / 1e6 == pytest.approx(253.6, rel=0.01)
