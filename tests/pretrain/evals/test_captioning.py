"""Captions a word at a time, against one image at a time with nothing padded."""

import importlib.util
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from pipeline.shard.reader import ShardReader
from pretrain.batch import Inputs
from pretrain.encoders.text import Vocabulary
from pretrain.evals.captioning import greedy
from pretrain.evals.held_out import held_out
from pretrain.evals.rerank import Split
from pretrain.evals.retrieval import EvalConfig, Transforms
from pretrain.models.table import AnyModelConfig, build_model
from pretrain.tokenize import Tokenizer, TokenizerConfig, train_tokenizer
from pretrain.world import World

spec = importlib.util.spec_from_file_location("fused_scenarios", Path(__file__).parents[1] / "fused_scenarios.py")
fused = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fused)


@pytest.fixture(scope="module")
def tokenizer(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(ShardReader(scenes, "train").texts(), TokenizerConfig(vocabulary=300, max_texts=500), 8, folder)
    return Tokenizer(folder, 8)


def model_of(name, vocabulary):
    """Weights large enough that images differ in what is said of them."""
    torch.manual_seed(1)
    config = TypeAdapter(AnyModelConfig).validate_python(fused.MODELS[name])
    model = build_model(config, vocabulary, fused.objective_of(name)[1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.eval()


@pytest.mark.parametrize("name", ["captioner", "mixture"])
def test_the_likeliest_words_are_those_of_one_image_at_a_time(name, tokenizer):
    vocabulary = tokenizer.vocabulary
    model = model_of(name, Vocabulary(vocabulary.size, vocabulary.start, vocabulary.end, vocabulary.padding))
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = greedy(model, images, tokenizer)
        for image, row in zip(images, found, strict=True):
            said = [vocabulary.start]
            while len(said) < 8:
                tokens = torch.tensor([[*said, vocabulary.padding]])
                word = int(model(Inputs(image[None], tokens, captions=True)).next_words_MV[-1].argmax())
                if word == vocabulary.end:
                    break
                said.append(word)
            assert row.tolist() == said + [vocabulary.padding] * (8 - len(said))
    assert len({tuple(row) for row in found.tolist()}) > 1


def test_figures_of_captions_stand_beside_those_of_retrieval(scenes, tokenizer):
    model = model_of("captioner", tokenizer.vocabulary)
    config = EvalConfig(every_steps=1, max_samples=20, block=8)
    split = Split(
        ShardReader(scenes, "validation"), Transforms(16, tokenizer), config, World(0, 1, torch.device("cpu"))
    )  # fmt: skip
    with torch.no_grad():
        found = held_out(model, {"contrast", "captions"}, split)
    assert 0 <= found["bleu4"] <= 1
    assert 0 <= found["cider"] <= 10
    assert found["images"] > 10
