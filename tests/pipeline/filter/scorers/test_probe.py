"""Probes against torch's own modules with the same weights, and what is refused before any work."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from pipeline.curate import ScoreConfig
from pipeline.errors import RecipeError
from pipeline.filter.embeddings import read_embeddings
from pipeline.filter.models.checkpoint import Checkpoint
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import check_scorers, scorers_of
from pipeline.filter.scorers.probe import ProbeScore, ProbeScoreConfig
from pipeline.recipe import check

from .conftest import caption, drawn, encoded

WIDTH = 24


def saved(folder, module, name="probe.safetensors", extra=None, metadata=None):
    path = folder / name
    tensors = {key: tensor.detach().contiguous() for key, tensor in module.state_dict().items()}
    save_file(tensors | (extra or {}), str(path), metadata)
    return str(path)


def scored(path, rows, **settings):
    scorer = ProbeScore({"x": ProbeScoreConfig(weights=path, **settings)}, {})
    scorer.setup()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float16).reshape(-1)), rows.shape[1])
    which = settings.get("of", "image")
    return scorer(pa.table({f"clip.{which}": lists})).column("x").to_pylist()


def stack(*widths, between=()):
    layers = []
    for into, out in itertools.pairwise(widths):
        layers += [torch.nn.Linear(into, out), *(kind() for kind in between)]
    return torch.nn.Sequential(*layers[: len(layers) - len(between)])


@pytest.fixture
def rows():
    found = np.random.default_rng(0).normal(size=(50, WIDTH)).astype(np.float16)
    found[7] = np.nan
    return found


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (stack(WIDTH, 1), {}),
        (stack(WIDTH, 8, 4, 1), {}),
        # more than ten layers: 2 comes before 10
        (stack(WIDTH, *[6] * 12, 1, between=(torch.nn.Dropout,)), {}),
        (stack(WIDTH, 16, 1, between=(torch.nn.ReLU,)), {"activation": "relu", "output": "sigmoid"}),
        (stack(WIDTH, 16, 4, 1, between=(torch.nn.Tanh, torch.nn.Dropout)), {"activation": "tanh"}),
        (stack(WIDTH, 16, 1, between=(torch.nn.GELU,)), {"activation": "gelu", "of": "text"}),
    ],
)
def test_equal_to_torch(tmp_path, rows, module, settings):
    found = scored(saved(tmp_path, module), rows, **settings)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(rows.astype(np.float32)))[:, 0]
    wanted = (wanted.sigmoid() if settings.get("output") == "sigmoid" else wanted).numpy()
    assert found[7] is None
    whole = np.arange(len(rows)) != 7
    tolerance = 1e-3 if settings.get("activation") == "gelu" else 1e-5
    np.testing.assert_allclose(np.array(found, float)[whole], wanted[whole], atol=tolerance)


def test_mean_and_std_come_first(tmp_path, rows):
    module = stack(WIDTH, 1)
    mean, std = torch.randn(WIDTH), torch.rand(WIDTH) + 0.5
    found = scored(saved(tmp_path, module, extra={"mean": mean, "std": std}), rows[:5])
    wanted = module((torch.from_numpy(rows[:5].astype(np.float32)) - mean) / std)[:, 0].detach()
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a.weight": torch.zeros(1, 7)}, "takes embeddings of width 7, and clip .* gives 24"),
        ({"a.weight": torch.zeros(2, WIDTH)}, r"its last layer a\.weight gives 2 numbers; a probe gives one"),
        ({"0.weight": torch.zeros(8, WIDTH), "1.weight": torch.zeros(1, 9)}, "gives 8 numbers and 1.weight takes 9"),
        ({"x": torch.zeros(WIDTH)}, "holds no matrix, only x"),
        ({"a.weight": torch.zeros(1, WIDTH), "norm": torch.zeros(3)}, "holds 'norm', which is no part"),
        ({"a.weight": torch.zeros(1, WIDTH), "mean": torch.zeros(3)}, r"mean has the shape \[3\]; wanted \[24\]"),
        ({"a.weight": torch.zeros(1, WIDTH, dtype=torch.bfloat16)}, "holds BF16; wanted .* Save it as float32"),
    ],
)
def test_a_wrong_probe_is_told_before_any_work(tmp_path, tiny_clip, tensors, words):
    save_file(tensors, str(tmp_path / "p.safetensors"))
    table = ProbeScoreConfig(weights=str(tmp_path / "p.safetensors"))
    with pytest.raises(RecipeError, match=rf"score\.probe\.x\.weights is .*p\.safetensors': .*{words}"):
        ProbeScore({"x": table}, {"clip": Checkpoint(str(tiny_clip), "c")}).check()


@pytest.mark.parametrize("data", [None, b"", b"short", b"\x10\0\0\0\0\0\0\0not json at all.", b"\xff" * 64])
def test_no_safetensors_file(tmp_path, data):
    path = tmp_path / "p.safetensors"
    if data is not None:
        path.write_bytes(data)
    scorer = ProbeScore({"x": ProbeScoreConfig(weights=str(path))}, {"clip": Checkpoint("x", "c")})
    with pytest.raises(RecipeError, match="cannot be read as a safetensors file"):
        scorer.check()


def test_a_probe_on_a_model_that_is_not_there(tmp_path, tiny_clip):
    path = saved(tmp_path, stack(WIDTH, 1))
    tables = {"clip": {"checkpoint": str(tiny_clip)}, "probe": {"x": {"weights": path, "embeddings": "clp"}}}
    with pytest.raises(RecipeError, match=r"score\.probe\.x\.embeddings is 'clp': no model .* Did you mean 'clip'"):
        check_scorers(scorers_of(check(ScoreConfig, tables, where="toy.toml")))


def test_from_recipe_to_columns(raw_parts, tmp_path, tiny_clip):
    module, other = stack(WIDTH, 1), stack(WIDTH, 4, 1)
    tables = {
        "models": {"small": {"checkpoint": str(tiny_clip)}},
        "probe": {
            "aesthetic": {"weights": saved(tmp_path, module, "a.safetensors"), "embeddings": "small"},
            "rude": {
                "weights": saved(tmp_path, other, "b.safetensors"), "embeddings": "small", "of": "text",
                "output": "sigmoid",
            },
        },
    }  # fmt: skip
    scorers = scorers_of(check(ScoreConfig, tables, where="toy.toml"))
    check_scorers(scorers)
    assert list(scorers)[-2:] == ["small", "probe"]
    assert scorers["probe"].writes.names == ["aesthetic", "rude"]
    rows = [{"id": str(seed), "media": encoded(drawn(seed)), "texts": [caption(seed)]} for seed in range(8)]
    rows[2]["outcome"], rows[4]["media"] = "http_404", b"no image"
    engine, _ = raw_parts([rows])
    for name in ("small", "probe"):
        stage = ScoreStage(scorers[name])
        engine.run(stage, [stage.part("00000")])
    assert stage.part("00000").inputs == (("fetch", "00000"), ("score-small", "00000"))
    found = pq.read_table(engine.dataset.path("scores/probe/00000.parquet"))
    assert [row is None for row in found["aesthetic"].to_pylist()] == [row in (2, 4) for row in range(8)]
    assert [row is None for row in found["rude"].to_pylist()] == [row == 2 for row in range(8)]
    image = torch.from_numpy(np.array(read_embeddings(engine.dataset, "small", "00000", "image")).astype(np.float32))
    wanted = module(image)[:, 0].detach().numpy()
    np.testing.assert_allclose(found["aesthetic"].to_numpy()[[0, 1, 3]], wanted[[0, 1, 3]], atol=1e-5)
