"""How fast texts are scored, and how many near-duplicates MinHash finds, on real captions.

    PAIRMILL_DATA=... .venv/bin/python benchmarks/texts.py [--quick] [speed] [recall] [ROWS ...]

`speed`: captions a second of CPU for each scorer. `recall`: of the pairs of 3,000 captions and as many edited copies
that are as similar as the threshold says, those found, beside datasketch with the same bands. A number: the
seconds and memory of the whole step on that many rows, half of them edited copies. A line a figure on standard error,
one JSON line at the end. `--quick`: `speed` on a fifth of the captions, and `recall` of 600; ends within a minute.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from about import about

from pipeline.commit import publish
from pipeline.engine import Engine, EngineConfig
from pipeline.filter.scorers.concepts import ConceptsScore, ConceptsScoreConfig
from pipeline.filter.scorers.language import LanguageScore, LanguageScoreConfig
from pipeline.filter.scorers.text import TextScore, TextScoreConfig
from pipeline.filter.steps.text_duplicates import TextDuplicatesConfig, find_text_duplicates, pairs_of_groups
from pipeline.filter.text.entries import spaced
from pipeline.filter.text.minhash import band_hashes, choose_bands
from pipeline.filter.text.shingles import plain, shingles
from pipeline.record import FETCHED, sample_key
from pipeline.stage import Made
from pipeline.store import Store

PART_ROWS = 10_000


FIGURES = []


def main():
    quick = "--quick" in sys.argv
    asked = [word for word in sys.argv[1:] if word != "--quick"] or ["speed", "recall"]
    captions = real_captions()
    if "speed" in asked:
        speed(captions[::5] if quick else captions)
    if "recall" in asked:
        recall(captions[: 600 if quick else 3000])
    for rows in (word for word in asked if word.isdigit()):
        scale(captions, int(rows))
    packages = ("pyarrow", "numpy", "datasketch", "fasttext-predict")
    print(json.dumps({"quick": quick, "figures": FIGURES, **about(*packages)}))


def real_captions():
    data = os.environ.get("PAIRMILL_DATA")
    if not data or not Path(data, "url_lists").is_dir():
        sys.exit("PAIRMILL_DATA must name a folder with url_lists: cc3m_val_5000.tsv, laion_like_1000.parquet")
    lines = Path(data, "url_lists/cc3m_val_5000.tsv").read_text("utf-8").splitlines()
    alt = pq.read_table(Path(data, "url_lists/laion_like_1000.parquet")).column("TEXT").to_pylist()
    return [line.split("\t")[0] for line in lines] + [text for text in alt if text]


def texts_of(captions):
    rows = [[{"text": caption, "kind": "alt", "lang": None}] for caption in captions]
    return pa.table({"texts": pa.array(rows, FETCHED.field("texts").type)})


def speed(captions):
    table = texts_of(captions * 5)
    with tempfile.TemporaryDirectory() as folder:
        entries = Path(folder, "entries.txt")
        entries.write_text("\n".join(many_entries(captions, 500_000)), "utf-8")
        scorers = {
            "text": TextScore(TextScoreConfig()),
            "text, parts of speech": TextScore(TextScoreConfig(parts_of_speech="english")),
            "language": LanguageScore(LanguageScoreConfig()),
            "concepts, 500,000 entries": ConceptsScore(ConceptsScoreConfig(entries=str(entries))),
        }
        for name, scorer in scorers.items():
            began = time.process_time()
            scorer.setup()
            ready = time.process_time()
            scorer(table)
            took = time.process_time() - ready
            show(scorer=name, captions_per_s=round(table.num_rows / took), setup_s=round(ready - began, 2))


def many_entries(captions, number):
    rng = random.Random(0)
    tokens = [spaced(caption).split() for caption in captions]
    found = {token for line in tokens for token in line}
    words = sorted(found)
    while len(found) < number:
        line = rng.choice(tokens)
        at, n = rng.randrange(len(line)), rng.choice([1, 1, 1, 2, 2, 4])  # MetaCLIP's: 3 of 5 are single words
        found.add(" ".join(line[at : at + n]) if rng.random() < 0.2 else " ".join(rng.choices(words, k=n)) + "s")
    return sorted(found)


def edited(caption, rng):
    """The caption after one to four edits, as copies differ: words dropped, added, swapped, misspelt, cased."""
    words = caption.split()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(words))
        edit = rng.choice(["drop", "add", "swap", "misspell", "case"])
        if edit == "drop" and len(words) > 1:
            del words[at]
        elif edit == "add":
            words.insert(at, rng.choice(["the", "beautiful", "photo", "2017", "of"]))
        elif edit == "swap" and at:
            words[at - 1], words[at] = words[at], words[at - 1]
        elif edit == "misspell":
            words[at] = words[at][:-1] + rng.choice("aest")
        else:
            words[at] = words[at].upper()
    return " ".join(words)


def recall(some):
    rng = random.Random(0)
    texts = sorted({plain(text) for text in some + [edited(caption, rng) for caption in some]} - {""})
    config = TextDuplicatesConfig()
    found = shingles(texts, config.shingles, config.shingle_size)
    pairs, alike = similar_pairs(found)
    sketches = datasketches(texts, config)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        bands = choose_bands(config.num_hashes, threshold, config.recall)
        true = {tuple(pair) for pair in pairs[alike >= threshold].tolist()}
        met = set()
        for band in band_hashes(found, bands):
            order = np.argsort(band, kind="stable")
            starts = np.flatnonzero(np.append(True, band[order][1:] != band[order][:-1]))
            left, right = pairs_of_groups(starts, np.diff(np.append(starts, len(order))))
            met |= {tuple(sorted(pair)) for pair in zip(order[left].tolist(), order[right].tolist(), strict=True)}
        theirs = datasketch_pairs(sketches, bands)
        show(
            threshold=threshold, bands=bands.num_bands, rows=bands.rows, true_pairs=len(true),
            recall=share(true & met, true), met_in_vain=len(met - true),
            datasketch_recall=share(true & theirs, true), datasketch_met_in_vain=len(theirs - true),
        )  # fmt: skip


def similar_pairs(found):
    """Brute force: the pairs of texts that share a shingle, the smaller number first, and their Jaccard similarity."""
    from scipy.sparse import csr_matrix, triu

    _, columns = np.unique(found.hashes, return_inverse=True)
    starts = np.append(found.starts, len(columns))
    holds = csr_matrix((np.ones(len(columns), np.int32), columns, starts))
    shared = triu(holds @ holds.T, 1).tocoo()
    sizes = found.sizes()
    return np.stack([shared.row, shared.col], 1), shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)


def datasketches(texts, config):
    from datasketch import MinHash

    made, size = [], config.shingle_size
    for text in (text.ljust(size, "\0") for text in texts):
        made.append(MinHash(num_perm=config.num_hashes))
        made[-1].update_batch([text[i : i + size].encode() for i in range(len(text) - size + 1)])
    return made


def datasketch_pairs(sketches, bands):
    from datasketch import MinHashLSH

    index, met = MinHashLSH(num_perm=len(sketches[0]), params=(bands.num_bands, bands.rows)), set()
    for number, sketch in enumerate(sketches):
        met |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    return met


def scale(captions, rows):
    rng = random.Random(0)
    words = [word for caption in captions for word in caption.split()]
    with tempfile.TemporaryDirectory() as folder:
        dataset = Store(f"{folder}/ds")
        commits = {}
        for number in range(rows // PART_ROWS):
            texts = []
            for _ in range(PART_ROWS // 2):
                caption = " ".join(rng.choices(words, k=10))  # real captions again and again would all be alike
                texts += [caption, edited(caption, rng)]
            commits[f"{number:05d}"] = raw_part(dataset, Path(folder), number, texts)
        engine = Engine(dataset, EngineConfig(place="process", workers=1))
        began, cpu = time.monotonic(), time.process_time()
        stage, parts = find_text_duplicates(engine, TextDuplicatesConfig(), commits)
        made = engine.run(stage, parts)
        show(
            rows=rows, seconds=round(time.monotonic() - began, 1), cpu_s=round(time.process_time() - cpu, 1),
            rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            duplicates=sum(commit.counts["duplicates"] for commit in made.values()),
        )  # fmt: skip


def raw_part(dataset, folder, number, texts):
    part = f"{number:05d}"
    keys = [sample_key("bench", f"{part}-{i}") for i in range(len(texts))]
    columns = {"key": keys, "outcome": ["success"] * len(texts), "texts": texts_of(texts).column("texts")}
    local = folder / "raw.parquet"
    pq.write_table(pa.table(columns), local)
    made = Made({f"raw/{part}.parquet": local}, len(texts), len(texts), {"success": len(texts)})
    return publish(dataset, "fetch", part, "by hand", made)


def share(found, among):
    return round(len(found) / max(len(among), 1), 4)


def show(**figures):
    FIGURES.append(figures)
    print(json.dumps(figures), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
