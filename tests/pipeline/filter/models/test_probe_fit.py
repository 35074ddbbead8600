"""Fitted probes against closed forms and the condition of a minimum, planted labels, and the verb from end to end."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from cluster.cli import main
from pipeline.errors import AskedWrongly
from pipeline.filter.models.probe import ProbeFile
from pipeline.filter.models.probe_fit import Labelled, fit, fit_linear, measured, read_labelled, write_probe
from pipeline.record import sample_key


def points(count=400, width=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) * rng.uniform(0.1, 3, width) + rng.normal(size=width)


def labelled(rows, labels):
    keys = sorted(sample_key("toy", str(i)) for i in range(len(rows)))
    return Labelled(keys, rows.astype(np.float32), np.asarray(labels, float), len(rows), "stamp")


def standardised(rows):
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 3.0])
def test_ridge_is_least_squares_with_penalty_rows(penalty):
    """The textbook trick: rows of sqrt(n penalty) I with labels 0 make ordinary least squares a ridge."""
    rows = points()
    labels = rows @ np.arange(12) + np.random.default_rng(1).normal(size=len(rows))
    found = fit_linear(rows, labels, "ridge", penalty)
    x = np.concatenate([standardised(rows), np.ones((len(rows), 1))], axis=1)
    extra = np.sqrt(len(rows) * penalty) * np.eye(12, 13)
    wanted = np.linalg.lstsq(np.concatenate([x, extra]), np.concatenate([labels, np.zeros(12)]), rcond=None)[0]
    np.testing.assert_allclose(found(rows), x @ wanted, atol=1e-8)


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 3.0])
def test_logistic_is_at_the_minimum(penalty):
    """The objective is strictly convex, so a gradient of nought (by central differences) is the one minimum."""
    rows = points()
    labels = (rows @ np.linspace(-1, 1, 12) + np.random.default_rng(1).normal(size=len(rows)) > 0).astype(float)
    found = fit_linear(rows, labels, "logistic", penalty)
    x, weight = standardised(rows), found.weight * rows.std(axis=0)
    bias = found.bias + found.weight @ rows.mean(axis=0)

    def objective(changed):
        scores = x @ changed[:-1] + changed[-1]
        signs = 2 * labels - 1
        return np.log1p(np.exp(-signs * scores)).mean() + penalty * (changed[:-1] ** 2).sum() / 2

    at, step = np.append(weight, bias), 1e-5
    for axis in np.eye(13):
        assert abs(objective(at + step * axis) - objective(at - step * axis)) / (2 * step) < 1e-7


def test_separable_labels_do_not_run_away():
    rows = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    found = fit_linear(rows, np.array([0, 0, 1, 1]), "logistic", 1e-4)
    assert np.isfinite(found.weight).all()
    assert (found(rows) > 0).tolist() == [False, False, True, True]


def test_a_column_that_never_changes_gets_no_weight():
    rows = np.concatenate([points(width=3), np.full((400, 1), 7.0)], axis=1)
    for kind, labels in (("ridge", rows[:, 0]), ("logistic", (rows[:, 0] > 0).astype(float))):
        assert abs(fit_linear(rows, labels, kind, 0.01).weight[3]) < 1e-9


def test_planted_directions_are_found():
    rows = points(2000)
    direction = np.linspace(-1, 1, 12)
    centred = (rows - rows.mean(axis=0)) @ direction
    ridge = fit(labelled(rows, 3 + centred), "ridge")
    assert ridge.figures["r2"] > 0.999
    np.testing.assert_allclose(ridge.linear.weight, direction, atol=0.01)
    logistic = fit(labelled(rows, centred > 0), "logistic")
    assert logistic.figures["accuracy"] > 0.97
    assert logistic.figures["auc"] > 0.99
    cosine = logistic.linear.weight @ direction / np.linalg.norm(logistic.linear.weight) / np.linalg.norm(direction)
    assert cosine > 0.99
    assert logistic.figures["rows_fitted"] + logistic.figures["rows_held_out"] == 2000


def test_labels_of_chance_are_told_as_chance():
    rows = points(2000)
    labels = np.random.default_rng(5).integers(0, 2, 2000)
    figures = fit(labelled(rows, labels), "logistic").figures
    assert 0.4 < figures["auc"] < 0.6
    assert figures["accuracy"] < figures["accuracy_of_guessing"] + 0.06


def test_auc_by_all_pairs():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 80).astype(float), rng.integers(0, 2, 80).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1] for b in scores[labels == 0]]
    assert measured(scores, labels, "logistic")["auc"] == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    ("count", "labels", "words"),
    [
        (5, [0, 1, 0, 1, 1], "5 rows have a label and an embedding; a probe wants 10"),
        (40, [0.5] * 40, "labels hold 0.5; a logistic probe takes 0 and 1"),
        (40, [1] * 40, "the same label"),
    ],
)
def test_labels_that_cannot_be_fitted(count, labels, words):
    with pytest.raises(AskedWrongly, match=words):
        fit(labelled(points(count), labels), "logistic", 0.1)


def embedded_dataset(raw_parts, folder="ds", parts=3, rows=60, width=8):
    """Parts whose embeddings are stored as a scorer would; every seventh row has none."""
    from pipeline.commit import publish
    from pipeline.filter.embeddings import NpyRows
    from pipeline.stage import Made, scratch_folder

    rng = np.random.default_rng(0)
    engine, _ = raw_parts([[{"id": f"{part}-{row}"} for row in range(rows)] for part in range(parts)], folder)
    truth = {}
    for part in range(parts):
        vectors = rng.normal(size=(rows, width))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys = [sample_key("test", f"{part}-{row}") for row in range(rows)]
        there = np.arange(rows)[np.arange(rows) % 7 != 3]
        truth |= {keys[row]: vectors[row] for row in there}
        with scratch_folder(engine.dataset) as scratch:
            pq.write_table(pa.table({"key": keys}), scratch / "s.parquet")
            with NpyRows(scratch / "image.npy", rows, width) as file:
                file.put(there, vectors[there])
            files = {f"scores/clip/{part:05d}.parquet": scratch / "s.parquet"}
            files[f"scores/clip/{part:05d}.image.npy"] = scratch / "image.npy"
            made = Made(files, rows, rows, {}, {"checkpoint": "c" * 64, "width": width})
            publish(engine.dataset, "score-clip", f"{part:05d}", "by hand", made)
    engine.dataset.put_bytes("dataset.json", b"{}")
    return engine.dataset, truth


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_verb(raw_parts, tmp_path, suffix, capsys):
    dataset, truth = embedded_dataset(raw_parts)
    direction = np.linspace(-1, 1, 8)
    pairs = {key: int(vector @ direction > 0) for key, vector in truth.items()} | {"0" * 32: 1, "1" * 32: 0}
    labels, out = tmp_path / f"labels{suffix}", tmp_path / "probe.safetensors"
    table = pa.table({"note": ["x"] * len(pairs), "label": list(pairs.values()), "key": list(pairs)})
    if suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(table, labels)
    else:
        pq.write_table(table, labels)
    assert main(["probe", "fit", dataset.url, str(labels), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert f"{len(pairs)} labels, {len(truth)} of them with an embedding" in said.err
    assert result["accuracy"] > 0.85
    assert result["rows_fitted"] + result["rows_held_out"] == len(truth)
    file = ProbeFile(str(out), "x")
    assert (file.width, file.facts["checkpoint"], file.facts["output"]) == (8, "c" * 64, "sigmoid")
    probe = file.load("none", "sigmoid")
    right = [(probe(vector[None].astype(np.float16))[0] > 0.5) == pairs[key] for key, vector in truth.items()]
    assert np.mean(right) > 0.9
    again = tmp_path / "again.safetensors"
    main(["probe", "fit", dataset.url, str(labels), "--out", str(again)])
    assert out.read_bytes() == again.read_bytes()
    with safe_open(str(out), "numpy") as opened:
        assert opened.get_tensor("weight").shape == (1, 8)


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("id,label\na,1\n", [], "has no column 'key', only id, label"),
        ("key,label\na,x\n", [], "column label: .* Labels are numbers"),
        ("key,label\na,1\na,0\n", [], "1 keys are there twice"),
        ("key,label\na,1\n", [], "none of its 1 keys has a stored embedding"),
        (None, [], "cannot be read"),
        ("key,label\na,1\n", ["--embeddings", "clp"], "no scorer 'clp' has scored it. Did you mean 'clip'"),
        ("key,label\na,1\n", ["--penalty", "0"], "--penalty is 0; wanted a number above 0"),
    ],
)
def test_what_the_verb_refuses(raw_parts, tmp_path, capsys, text, more, words):
    dataset, _ = embedded_dataset(raw_parts, rows=10)
    labels = tmp_path / "labels.csv"
    if text is not None:
        labels.write_text(text)
    assert main(["probe", "fit", dataset.url, str(labels), "--out", str(tmp_path / "p"), *more]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "p").exists()


def test_no_dataset(tmp_path, capsys):
    assert main(["probe", "fit", str(tmp_path), "labels.csv"]) == 2
    assert "holds no dataset" in capsys.readouterr().err


def test_a_probe_is_bound_to_its_checkpoint(raw_parts, tmp_path):
    from pipeline.errors import RecipeError
    from pipeline.filter.scorers.probe import ProbeScore, ProbeScoreConfig

    class Encoder:
        width, url, stamp = 12, "models/other", "d" * 64

    out = tmp_path / "p.safetensors"
    write_probe(out, fit(labelled(points(), np.arange(400.0)), "ridge", 0.1), {"checkpoint": "c" * 64})
    scorer = ProbeScore({"x": ProbeScoreConfig(weights=str(out))}, {"clip": Encoder()})
    with pytest.raises(RecipeError, match=r"another checkpoint \(cccccccccccc\) than that of clip \(dddddddddddd"):
        scorer.check()
    Encoder.stamp = "c" * 64
    scorer.check()


def test_labels_are_joined_part_by_part(raw_parts, tmp_path):
    dataset, truth = embedded_dataset(raw_parts)
    labels = tmp_path / "labels.parquet"
    some = sorted(truth)[::5]
    pq.write_table(pa.table({"key": some, "label": np.arange(len(some)) / 2}), labels)
    found = read_labelled(dataset, labels, "clip", "image")
    assert found.keys == some
    assert found.labels.tolist() == [i / 2 for i in range(len(some))]
    np.testing.assert_allclose(found.rows, [truth[key] for key in some], atol=1e-3)
