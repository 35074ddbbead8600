"""The nearest centroid against a loop over all, and what is refused before any work."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.scorers import centroids as module
from pipeline.filter.scorers.centroids import CentroidsScore, CentroidsScoreConfig

WIDTH = 8


@pytest.fixture
def files(tmp_path):
    """Call with arrays; gives a scorer on them."""

    def make(centroids, targets, encoders=("clip",)):
        number = len(list(tmp_path.iterdir()))
        np.save(tmp_path / f"centroids{number}.npy", centroids)
        np.save(tmp_path / f"targets{number}.npy", targets)
        paths = {"centroids": f"{tmp_path}/centroids{number}.npy", "targets": f"{tmp_path}/targets{number}.npy"}
        return CentroidsScore(CentroidsScoreConfig(**paths), dict.fromkeys(encoders, SimpleNamespace(width=WIDTH)))

    return make


def test_equal_to_a_loop(files, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_VALUES", 50)
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(11, WIDTH)).astype(np.float32)
    rows = rng.normal(size=(30, WIDTH)).astype(np.float16)
    rows[[3, 29]] = np.nan
    scorer = files(centroids, np.array([2, 5, 7]))
    scorer.check()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), WIDTH)
    found = scorer(pa.table({"clip.image": lists})).to_pylist()
    for place, (row, values) in enumerate(zip(rows.astype(np.float64), found, strict=True)):
        if place in (3, 29):
            assert values == {"nearest": None, "similarity": None, "is_target": None}
            continue
        dots = [sum(a * b for a, b in zip(row, centroid, strict=True)) for centroid in centroids.astype(np.float64)]
        best = dots.index(max(dots))
        assert (values["nearest"], values["is_target"]) == (best, best in (2, 5, 7))
        assert values["similarity"] == pytest.approx(max(dots), rel=1e-5)
    empty = scorer(pa.table({"clip.image": lists.slice(0, 0)}))
    assert (empty.num_rows, empty.schema) == (0, scorer.writes)


GOOD = np.zeros((4, WIDTH), np.float32)


@pytest.mark.parametrize(
    ("centroids", "targets", "encoders", "words"),
    [
        (GOOD, np.array([0]), (), r"embeddings is 'clip': no model of this recipe.*Add a table \[score.clip\]"),
        (GOOD[:, :3], np.array([0]), ("clip",), r"holds float32 \[4, 3\]; wanted \[K, 8\], the width of clip"),
        (GOOD[0], np.array([0]), ("clip",), "floats of two dimensions"),
        (GOOD, np.array([0.5]), ("clip",), "wanted integers of one dimension"),
        (GOOD, np.array([4]), ("clip",), "wanted numbers from 0 to 3"),
        (GOOD, np.array([], np.int64), ("clip",), "one or more"),
    ],
)
def test_what_does_not_fit_is_refused(files, centroids, targets, encoders, words):
    with pytest.raises(RecipeError, match=words):
        files(centroids, targets, encoders).check()


def test_a_file_that_is_none_is_refused(files, tmp_path):
    scorer = files(GOOD, np.array([0]))
    scorer.paths = (str(tmp_path / "nothing.npy"), scorer.paths[1])
    with pytest.raises(RecipeError, match=r"score.centroids.centroids is .*Name a .npy file"):
        scorer.check()
