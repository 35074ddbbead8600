"""Fit a linear probe on stored embeddings: labelled rows in, a safetensors file of one layer and its figures out.

Takes a table of `key, label` (CSV or parquet) and the embeddings that a scorer has stored. `ridge` fits any numbers by
least squares; `logistic` fits labels 0 and 1. Both minimise, over standardised embeddings x, y,

    ridge      mean (w x + b - y)^2 / 2  +  penalty |w|^2 / 2                in closed form
    logistic   mean log loss             +  penalty |w|^2 / 2                by Newton's method

and fold the standardisation into the weights. A fifth of the rows, by the hash of their keys, is held out for the
figures; without a given penalty, another fifth chooses it. The same labels and embeddings give the same file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.commit import read_commits
from pipeline.errors import AskedWrongly, nearest
from pipeline.filter.embeddings import read_embeddings
from pipeline.filter.models.probe import METADATA, sigmoid
from pipeline.record import key_fraction
from pipeline.shuffle import read_parquet
from pipeline.store import Store

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
HELD_OUT, CHOOSING = 0.2, 0.2
MIN_ROWS = 10
AS_TEXT = pa_csv.ConvertOptions(column_types={"key": pa.string()})
"""A key of digits alone is no number."""
_NEWTON_STEPS = 100
_TINY = 1e-10

Kind = Literal["logistic", "ridge"]
Which = Literal["image", "text"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A fitted layer on raw embeddings: weight [D], bias."""

    weight: np.ndarray
    bias: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[B, D] -> [B], before any sigmoid."""
        return rows @ self.weight + self.bias


@dataclass(frozen=True)
class Labelled:
    """Embeddings and labels of the rows that have both, sorted by key, and what gave the embeddings."""

    keys: list[str]
    rows: np.ndarray
    labels: np.ndarray
    num_labels: int
    checkpoint: str | None


@dataclass(frozen=True)
class Fitted:
    """A probe, its penalty and its figures on the rows that it never saw."""

    linear: Linear
    kind: Kind
    penalty: float
    figures: Mapping[str, float]


def fit(found: Labelled, kind: Kind, penalty: float | None = None) -> Fitted:
    """Fit on four fifths of the rows and measure on the rest.

    Raises: AskedWrongly: too few rows, or labels that this kind cannot take.
    """
    _check_labels(found, kind)
    place = np.array([key_fraction(key, "probe") for key in found.keys])
    held_out, choosing = place < HELD_OUT, (place >= HELD_OUT) & (place < HELD_OUT + CHOOSING)
    if penalty is None:
        penalty = _best_penalty(found, kind, ~held_out & ~choosing, choosing)
    train = ~held_out
    _check_split(found.labels, train, held_out, kind)
    linear = fit_linear(found.rows[train], found.labels[train], kind, penalty)
    figures = measured(linear(found.rows[held_out]), found.labels[held_out], kind)
    counts = {"rows_fitted": int(train.sum()), "rows_held_out": int(held_out.sum())}
    return Fitted(linear, kind, penalty, counts | figures)


def fit_linear(rows: np.ndarray, labels: np.ndarray, kind: Kind, penalty: float) -> Linear:
    """Minimise the objective above; `rows` [n, D], `labels` [n]."""
    rows, labels = rows.astype(np.float64), labels.astype(np.float64)
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    std[std < _TINY] = 1.0
    x = (rows - mean) / std
    weight, bias = _ridge(x, labels, penalty) if kind == "ridge" else _logistic(x, labels, penalty)
    weight = weight / std
    return Linear(weight, float(bias - weight @ mean))


def measured(scores: np.ndarray, labels: np.ndarray, kind: Kind) -> dict[str, float]:
    """ridge: rmse, r2. logistic: accuracy at 0.5, auc, log_loss, and the accuracy of always saying the commoner."""
    if kind == "ridge":
        errors = scores - labels
        spread = float(((labels - labels.mean()) ** 2).sum())
        return {
            "rmse": float(np.sqrt((errors**2).mean())),
            "r2": 1 - float((errors**2).sum()) / spread if spread else 0.0,
        }
    positive = labels > 0.5
    return {
        "accuracy": float(((scores > 0) == positive).mean()),
        "accuracy_of_guessing": float(max(positive.mean(), 1 - positive.mean())),
        "auc": _auc(scores, positive),
        "log_loss": _log_loss(scores, labels),
    }


def read_labelled(dataset: Store, labels: Path, scorer: str, which: Which) -> Labelled:
    """Join the labels with the embeddings of their keys, part by part.

    Raises: AskedWrongly: no such labels, or nothing embedded. DatasetError: a part is damaged.
    """
    wanted = _read_labels(labels)
    commits = read_commits(dataset, f"score-{scorer}")
    if not commits:
        models = [name.removeprefix("score-") for name in dataset.folders("commits") if name.startswith("score-")]
        raise AskedWrongly(f"{dataset.url}: no scorer {scorer!r} has scored it. {nearest(scorer, models)}")
    stamps = {commit.facts.get("checkpoint") for commit in commits.values()}
    if len(stamps) > 1:
        raise AskedWrongly(f"{dataset.url}: {scorer} embedded its parts by different checkpoints. Score it again.")
    found: dict[str, tuple[np.ndarray, float]] = {}
    for part in commits:
        keys = read_parquet(dataset, f"scores/{scorer}/{part}.parquet", ["key"]).column("key").to_pylist()
        rows = [row for row, key in enumerate(keys) if key in wanted and key not in found]
        if rows:
            vectors = np.asarray(read_embeddings(dataset, scorer, part, which)[rows], np.float32)
            pairs = zip(rows, vectors, strict=True)
            found |= {keys[row]: (vector, wanted[keys[row]]) for row, vector in pairs if not np.isnan(vector[0])}
    if not found:
        raise AskedWrongly(f"{labels}: none of its {len(wanted)} keys has a stored embedding in {dataset.url}.")
    order = sorted(found)
    vectors, values = np.stack([found[key][0] for key in order]), np.array([found[key][1] for key in order])
    return Labelled(order, vectors, values, len(wanted), stamps.pop())


def write_probe(path: Path, fitted: Fitted, facts: Mapping[str, Any]) -> None:
    """Write the layer, with its figures and `facts` in the metadata; whole or not at all."""
    from safetensors.numpy import save

    tensors = {
        "weight": np.ascontiguousarray(fitted.linear.weight[None], np.float32),
        "bias": np.array([fitted.linear.bias], np.float32),
    }
    output = "sigmoid" if fitted.kind == "logistic" else "linear"
    about = {"kind": fitted.kind, "output": output, "penalty": fitted.penalty, "figures": fitted.figures, **facts}
    metadata = {METADATA: json.dumps(about, sort_keys=True)}
    Store(str(path.parent)).put_bytes(path.name, save(tensors, metadata))


def labels_sha256(labels: Path) -> str:
    """Hash of the file of labels, for the lineage."""
    return hashlib.sha256(labels.read_bytes()).hexdigest()


def _ridge(x: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    mean = labels.mean()
    gram = x.T @ x / len(x) + penalty * np.eye(x.shape[1])
    return np.linalg.solve(gram, x.T @ (labels - mean) / len(x)), float(mean)


def _logistic(x: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Newton's method with halved steps where a whole one would climb; the objective is convex."""
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    shrink = np.full(x.shape[1], penalty)
    shrink[-1] = 0.0
    found = np.zeros(x.shape[1])

    def objective(weight: np.ndarray) -> float:
        return _log_loss(x @ weight, labels) + 0.5 * float(shrink @ weight**2)

    value = objective(found)
    for _ in range(_NEWTON_STEPS):
        chance = sigmoid(x @ found)
        gradient = x.T @ (chance - labels) / len(x) + shrink * found
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x / len(x) + np.diag(shrink + _TINY)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > _TINY and objective(found - size * step) > value:
            size /= 2
        found = found - size * step
        value = objective(found)
        if np.abs(gradient).max() < _TINY or size <= _TINY:
            break
    return found[:-1], float(found[-1])


def _best_penalty(found: Labelled, kind: Kind, fitting: np.ndarray, choosing: np.ndarray) -> float:
    _check_split(found.labels, fitting, choosing, kind)

    def loss(penalty: float) -> float:
        linear = fit_linear(found.rows[fitting], found.labels[fitting], kind, penalty)
        figures = measured(linear(found.rows[choosing]), found.labels[choosing], kind)
        return figures["rmse" if kind == "ridge" else "log_loss"]

    return min(PENALTIES, key=loss)


def _log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((np.logaddexp(0, scores) - labels * scores).mean())


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, equal ones counting half; by ranks."""
    if positive.all() or not positive.any():
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    pairs = positive.sum() * (~positive).sum()
    return float((ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / pairs)


def _check_labels(found: Labelled, kind: Kind) -> None:
    if len(found.keys) < MIN_ROWS:
        raise AskedWrongly(f"{len(found.keys)} rows have a label and an embedding; a probe wants {MIN_ROWS} or more.")
    other = sorted(set(np.unique(found.labels).tolist()) - {0.0, 1.0})
    if kind == "logistic" and other:
        raise AskedWrongly(f"labels hold {other[0]:g}; a logistic probe takes 0 and 1. Fit other numbers by ridge.")


def _check_split(labels: np.ndarray, train: np.ndarray, held_out: np.ndarray, kind: Kind) -> None:
    if not train.any() or not held_out.any():
        raise AskedWrongly(f"{len(labels)} labelled rows are too few to hold some out. Label more rows.")
    if kind == "logistic" and len(np.unique(labels[train])) < 2:
        raise AskedWrongly("all rows to fit on have the same label; a logistic probe wants both 0 and 1.")


def _read_labels(path: Path) -> dict[str, float]:
    """key -> label. Raises: AskedWrongly."""
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pa_csv.read_csv(path, convert_options=AS_TEXT)
    except (OSError, pa.ArrowInvalid) as error:
        raise AskedWrongly(f"{path}: cannot be read: {error}. Wanted a CSV or parquet file of key, label.") from None
    for name in ("key", "label"):
        if name not in table.column_names:
            hint = nearest(name, table.column_names)
            raise AskedWrongly(f"{path}: has no column {name!r}, only {', '.join(table.column_names)}. {hint}")
    try:
        labels = table.column("label").cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise AskedWrongly(f"{path}: column label: {error}. Labels are numbers.") from None
    table = pa.table({"key": table.column("key").cast(pa.string()), "label": labels}).filter(pc.is_finite(labels))
    pairs = dict(zip(table.column("key").to_pylist(), table.column("label").to_pylist(), strict=True))
    if len(pairs) != table.num_rows:
        raise AskedWrongly(f"{path}: {table.num_rows - len(pairs)} keys are there twice. Give each row one label.")
    return pairs
