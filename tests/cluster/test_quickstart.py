"""The whole mill by its own command, small: under Ray Train and under torchrun, and once more over what is there."""

import json
import subprocess
import sys

import pytest
import torch

SMALL = ["--scenes", "160", "--steps", "8", "--json"]


def quickstart(folder, site):
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "quickstart", "--out", "out", "--on", site, *SMALL],
        capture_output=True, text=True, cwd=folder, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    return folder, *quickstart(folder, "process")


def test_every_piece_is_there(by_torchrun):
    folder, result, words = by_torchrun
    left = {}
    for hop in result["funnel"]["hops"]:
        left |= {(f"fetch:{reason}" if hop["name"] == "fetched" else reason): n for reason, n in hop["left"].items()}
    assert left == result["planted"]
    run = folder / "out" / "run"
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in steps if "loss" in record] == list(range(1, 9))
    assert set(result["eval"]) >= {"image_to_text_r10", "text_to_image_r10_chance"}
    assert (run / "export" / "model.safetensors").exists()
    assert list((run / "tensorboard").glob("events.*"))
    assert "<polyline" in (folder / "out" / "report.html").read_text()
    assert "what to type next" in words


def test_again_only_what_is_missing_is_done(by_torchrun):
    folder, first, _ = by_torchrun
    before = (folder / "out" / "run" / "metrics.jsonl").read_text()
    second, words = quickstart(folder, "process")
    assert second["funnel"] == first["funnel"]
    assert second["eval"] == first["eval"]
    assert "fetch 0/" not in words  # every part is there from the first moment
    assert (folder / "out" / "run" / "metrics.jsonl").read_text() == before


@pytest.mark.ray
def test_ray_train_gives_the_weights_of_torchrun(by_torchrun, tmp_path):
    from safetensors.torch import load_file

    folder, first, _ = by_torchrun
    second, _ = quickstart(tmp_path, "local")
    assert second["funnel"]["splits"] == first["funnel"]["splits"]
    ours = load_file(tmp_path / "out" / "run" / "export" / "model.safetensors")
    theirs = load_file(folder / "out" / "run" / "export" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    same = [torch.equal(ours[name], theirs[name]) for name in ours]
    assert all(same), f"{same.count(False)} of {len(same)} tensors differ"
