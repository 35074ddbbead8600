"""Distance to evaluation sets against all pairs, and copies of real COCO images that are found again."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.commit import publish
from pipeline.errors import RecipeError
from pipeline.filter.embeddings import NpyRows, embeddings_name
from pipeline.filter.scorers.phash import grey_plane, hashes_of
from pipeline.filter.steps.decontaminate import (
    DecontaminateConfig,
    check_decontaminate,
    decontaminate,
    nearest_hashes,
    nearest_vectors,
)
from pipeline.filter.steps.evals import folder_digest, image_names
from pipeline.recipe import RecipeTable
from pipeline.stage import Made, Resources
from pipeline.store import Store

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=12)


def picture(seed, size=(96, 64)):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def body_of(image, kind="PNG", **options):
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


@pytest.fixture
def eval_folder(tmp_path):
    """Pictures 0 to 3 as files at two depths, a flat one, a broken one and one that is no image."""
    folder = tmp_path / "evals"
    (folder / "deep/er").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.PNG", "deep/c.png", "deep/er/d.png"]):
        (folder / name).write_bytes(body_of(picture(seed)))
    (folder / "flat.png").write_bytes(body_of(Image.new("RGB", (64, 64), "white")))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 torn")
    (folder / "readme.txt").write_text("words")
    return folder


class Mean:
    """A scorer of real pixels: the mean colour, as an embedding."""

    name, version, reads = "mean", 1, ("medium", "media")
    writes = pa.schema([])
    resources, config, embeds = Resources(), RecipeTable(), {"image": 3}

    def setup(self):
        pass

    def __call__(self, table):
        rows = [self.of(media.as_py()) for media in table.column("media")]
        return pa.table({"image": pa.array(rows, pa.list_(pa.float64(), 3))})

    def of(self, body):
        try:
            mean = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), np.float64).mean((0, 1))
        except OSError:
            return [np.nan] * 3
        return (mean / np.linalg.norm(mean)).tolist()


@pytest.fixture
def scored(raw_parts, tmp_path):
    """Call with bodies and a config; gives the facts of each."""

    def run(bodies, config, scorer=None, folder="ds"):
        rows = [
            {"id": str(i), "outcome": "success" if body is not None else "http_404"} for i, body in enumerate(bodies)
        ]
        engine, fetched = raw_parts([rows], folder)
        found = []
        for body in bodies:
            try:
                [value], [contrast] = hashes_of(grey_plane(body)[None])
                found.append((int(value), float(contrast)))
            except (ValueError, TypeError):
                found.append((None, None))
        local = tmp_path / "phash.parquet"
        hashes, contrasts = (list(values) for values in zip(*found, strict=True))
        table = pa.table({"hash": pa.array(hashes, pa.uint64()), "contrast": pa.array(contrasts, pa.float32())})
        pq.write_table(table, local)
        made = Made({"scores/phash/00000.parquet": local}, len(rows), len(rows))
        publish(engine.dataset, "score-phash", "00000", "by hand", made)
        if scorer is not None:
            local = tmp_path / "image.npy"
            vectors = np.array([scorer.of(body or b"") for body in bodies])
            with NpyRows(local, len(rows), 3) as npy:
                npy.put(np.arange(len(rows)), vectors)
            made = Made({embeddings_name("mean", "00000", "image"): local}, len(rows), len(rows))
            publish(engine.dataset, "score-mean", "00000", "by hand", made)
        stage, parts = decontaminate(engine, config, fetched, {"mean": scorer})
        engine.run(stage, parts)
        return pq.read_table(engine.dataset.path("scores/decontaminate/00000.parquet")).to_pylist()

    return run


@settings(max_examples=50, deadline=None)
@given(HASHES, HASHES)
def test_nearest_hash_is_that_of_all_pairs(hashes, others):
    distance, place = nearest_hashes(np.array(hashes, np.uint64), np.array(others, np.uint64))
    for value, apart, at in zip(hashes, distance.tolist(), place.tolist(), strict=True):
        all_apart = [(value ^ other).bit_count() for other in others]
        assert apart == min(all_apart, default=64)
        assert at == (all_apart.index(apart) if others else 0)


def test_nearest_vector_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    vectors, others = (rng.standard_normal((rows, 8)).astype(np.float16) for rows in (30, 20))
    vectors, others = (v / np.linalg.norm(v.astype(float), axis=1, keepdims=True) for v in (vectors, others))
    cosine, place = nearest_vectors(vectors.astype(np.float16), others.astype(np.float16))
    wanted = vectors @ others.T
    np.testing.assert_array_equal(place, wanted.argmax(1))
    np.testing.assert_allclose(cosine, wanted.max(1), atol=2e-3)
    assert nearest_vectors(vectors, others[:0])[0].tolist() == [-1] * 30


def test_facts_of_copies_strangers_and_what_cannot_be_compared(scored, eval_folder):
    config = DecontaminateConfig(sets=[{"name": "mine", "folder": str(eval_folder)}])
    bodies = [
        body_of(picture(2)), body_of(picture(3).resize((300, 200)), "JPEG", quality=40), body_of(picture(9)),
        body_of(Image.new("RGB", (64, 64), "white")), b"no image", None,
    ]  # fmt: skip
    exact, copy, stranger, flat, broken, missing = scored(bodies, config)
    assert (exact["phash_distance"], exact["nearest"]) == (0, "mine/deep/c.png")
    assert copy["phash_distance"] <= 4
    assert copy["nearest"] == "mine/deep/er/d.png"
    assert stranger["phash_distance"] > 12
    for row in (flat, broken):
        assert (row["phash_distance"], row["nearest"]) == (64, None)
    assert (missing["phash_distance"], missing["nearest"]) == (None, None)
    assert "nearest_similarity" not in exact


def test_similarity_by_a_scorer(scored, eval_folder):
    config = DecontaminateConfig(sets=[{"name": "mine", "folder": str(eval_folder)}], scorer="mean")
    copy, broken, missing = scored([body_of(picture(1)), b"no image", None], config, Mean())
    assert copy["nearest_similarity"] == pytest.approx(1, abs=1e-3)
    assert copy["most_similar"] == "mine/b.PNG"
    assert (broken["nearest_similarity"], broken["most_similar"]) == (-1, None)
    assert (missing["nearest_similarity"], missing["most_similar"]) == (None, None)


def test_content_decides_and_not_the_place(eval_folder, tmp_path):
    names = list(image_names(Store(str(eval_folder))))
    assert sorted(names) == ["a.png", "b.PNG", "broken.jpg", "deep/c.png", "deep/er/d.png", "flat.png"]
    before = folder_digest(Store(str(eval_folder)))
    moved = eval_folder.rename(tmp_path / "elsewhere")
    assert folder_digest(Store(str(moved))) == before
    (moved / "readme.txt").write_text("other words")
    assert folder_digest(Store(str(moved))) == before
    (moved / "a.png").write_bytes(body_of(picture(7)))
    assert folder_digest(Store(str(moved))) != before


def test_what_cannot_work_is_refused(eval_folder, tmp_path):
    mine = {"name": "mine", "folder": str(eval_folder)}
    check_decontaminate(DecontaminateConfig(sets=[mine], scorer="mean"), {"mean": Mean()})
    with pytest.raises(RecipeError, match=r"'gone' is the folder .*nowhere, which is not there, or holds no images"):
        check_decontaminate(DecontaminateConfig(sets=[{"name": "gone", "folder": str(tmp_path / "nowhere")}]), {})
    with pytest.raises(RecipeError, match="Did you mean 'mean'"):
        check_decontaminate(DecontaminateConfig(sets=[mine], scorer="means"), {"mean": Mean()})
    with pytest.raises(ValidationError, match="two sets have the name 'mine'"):
        DecontaminateConfig(sets=[mine, mine])
    with pytest.raises(ValidationError, match="at least 1 item"):
        DecontaminateConfig(sets=[])


def test_copies_of_coco_are_found_and_flickr8k_is_not(scored):
    data = os.environ.get("PAIRMILL_DATA")
    if data is None:
        pytest.skip("PAIRMILL_DATA names no folder of real data")
    coco = Path(data) / "image_text/coco"
    originals = sorted(coco.glob("val2017/*.jpg"))[:40]
    copies = []
    for i, file in enumerate(originals):
        image = Image.open(file).convert("RGB")
        size = (image.width // 2, image.height // 2) if i % 2 else (256, 256 * image.height // image.width)
        copies.append(body_of(image.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=50))
    strangers = [file.read_bytes() for file in sorted((Path(data) / "image_text/flickr8k/images").glob("*.jpg"))[:100]]
    found = scored(copies + strangers, DecontaminateConfig(sets=[{"name": "coco", "folder": str(coco)}]))
    for row, file in zip(found, originals, strict=False):
        assert row["phash_distance"] <= 4
        assert row["nearest"] == f"coco/val2017/{file.name}"
    assert all(row["phash_distance"] > 6 for row in found[len(copies) :])
