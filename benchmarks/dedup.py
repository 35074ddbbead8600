"""How finding duplicates grows with the rows: cost and memory of each global step, beside tools that compare all pairs.

    .venv/bin/python benchmarks/dedup.py [--quick] [--most ROWS] [--folder FOLDER] [--steps near,exact,semantic,texts]
                                         [--rows ROWS,ROWS] [--width NUMBERS]

Draws datasets (keys, URLs, captions, hashes and embeddings, a tenth of the rows near copies of others), and runs each
step over them as `curate` does: scatter, gather, components, facts written back beside every part, in one process with
two workers. Every run is a process of its own; `cpu_s` is user + system, `rss_mb` its peak, drawing not counted.
`growth_exponent` is the slope of log cpu_s over log rows. Then datasketch, faiss and imagehash on sizes they can do.
Prints a line per run on standard error, and one JSON line at the end. `--quick` ends within a minute.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from about import about

from pipeline.commit import publish, read_commits
from pipeline.engine import Engine, EngineConfig
from pipeline.filter.steps.duplicates import DuplicatesConfig, find_duplicates
from pipeline.filter.steps.near_duplicates import NearDuplicatesConfig, find_near_duplicates
from pipeline.filter.steps.semantic import SemanticConfig, find_semantic
from pipeline.filter.steps.text_duplicates import TextDuplicatesConfig, find_text_duplicates
from pipeline.record import FETCHED
from pipeline.stage import Made
from pipeline.store import Store

PART_ROWS = 100_000
WIDTH = 512
STEPS = {
    "near": (find_near_duplicates, NearDuplicatesConfig(), (100_000, 1_000_000, 10_000_000), (30_000, 100_000)),
    "exact": (find_duplicates, DuplicatesConfig(), (100_000, 1_000_000, 10_000_000), (10_000, 30_000)),
    "semantic": (find_semantic, SemanticConfig(), (100_000, 300_000, 1_000_000), (10_000, 20_000)),
    "texts": (find_text_duplicates, TextDuplicatesConfig(), (30_000, 100_000, 300_000), (2_000, 4_000)),
}
"""Name -> how it runs, its settings, rows, and rows with --quick."""
PACKAGES = ("numpy", "pyarrow", "imagehash", "faiss-cpu", "datasketch")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute")
    parser.add_argument("--most", type=int, default=10_000_000, help="leave out sizes above this")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--folder", type=Path, help="where datasets are drawn; 3 GB for 10 million rows")
    parser.add_argument("--rows", type=lambda text: [int(rows) for rows in text.split(",")], help="these sizes instead")
    parser.add_argument("--width", type=int, default=WIDTH, help="numbers of an embedding (512)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ONE[options.one[0]](Path(options.one[1]), *options.one[2].split(":"))))
        return
    result = {"benchmark": "dedup", "width": options.width, "steps": {}}
    for step in options.steps.split(","):
        usual = STEPS[step][3 if options.quick else 2]
        sizes = [rows for rows in options.rows or usual if rows <= options.most]
        runs = [measure(options.folder, step, rows, options.width) for rows in sizes]
        result["steps"][step] = {"runs": runs, "growth_exponent": exponent(runs)}
        print(f"{step}: growth exponent {result['steps'][step]['growth_exponent']}", file=sys.stderr)
    result["growth_exponent"] = max((s["growth_exponent"] for s in result["steps"].values()), default=None)
    result["all_pairs"] = all_pairs(quick=options.quick)
    print(json.dumps(result | about(*PACKAGES)))


def measure(folder, step, rows, width):
    """One run of one step over one drawn dataset, in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="pairmill-dedup-", dir=folder) as drawn:
        alone("draw", drawn, f"{step}:{rows}:{width}")
        found = {"rows": rows, **alone("run", drawn, step)}
    found["rows_per_cpu_s"] = round(rows / found["cpu_s"])
    print(f"{step:<9} {rows:>11,} rows", *(f"{k}={v}" for k, v in found.items() if k != "rows"), file=sys.stderr)
    return found


def alone(what, folder, argument):
    done = subprocess.run(
        [sys.executable, __file__, "--one", what, folder, argument], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def exponent(runs):
    """Least squares over all runs; None for one run."""
    if len(runs) < 2:
        return None
    rows, cost = (np.log([run[name] for run in runs]) for name in ("rows", "cpu_s"))
    return round(float(np.polyfit(rows, cost, 1)[0]), 3)


def run(folder, step):
    """Bring the facts of one step up to date, and say what it cost."""
    find, config = STEPS[step][:2]
    dataset = Store(str(folder))
    engine = Engine(dataset, EngineConfig(place="process", workers=2))
    fetched = read_commits(dataset, "fetch")
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    stage, parts = find(engine, config, fetched)
    commits = engine.run(stage, parts)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    crowded = sum(commit.facts.get("crowded", 0) for commit in read_commits(dataset, "near_duplicates-near").values())
    duplicates = sum(commit.counts.get("duplicates", 0) for commit in commits.values())
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "rss_mb": round(after.ru_maxrss / 1024),
        "duplicates": duplicates,
        "crowded": crowded,
    }


def draw(folder, step, rows, width):
    """A dataset of so many rows, with what the step reads; embeddings of so many numbers."""
    dataset, rows = Store(str(folder)), int(rows)
    for start in range(0, rows, PART_ROWS):
        part, count = f"{start // PART_ROWS:05d}", min(PART_ROWS, rows - start)
        rng = np.random.default_rng(start)
        put(
            dataset,
            "fetch",
            part,
            f"raw/{part}.parquet",
            raw_rows(rng, start, count, with_texts=step in ("exact", "texts")),
        )
        if step == "near":
            contrast = pa.array(np.full(count, 50, np.float32))
            table = pa.table({"hash": drawn_hashes(rng, start, count), "contrast": contrast})
            put(dataset, "score-phash", part, f"scores/phash/{part}.parquet", table)
        if step == "semantic":
            local = folder / "image.npy"
            np.save(local, drawn_vectors(rng, start, count, int(width)))
            made = Made({f"scores/clip/{part}.image.npy": local}, count, count)
            publish(dataset, "score-clip", part, "drawn", made)
    return {"rows": rows}


def put(dataset, stage, part, name, table):
    local = Path(dataset.path("drawn.parquet"))
    local.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, local)
    publish(
        dataset, stage, part, "drawn", Made({name: local}, table.num_rows, table.num_rows, {"success": table.num_rows})
    )


def raw_rows(rng, start, count, with_texts):
    rows = np.arange(start, start + count)
    copied = np.where(rng.random(count) < 0.1, rows // 2, rows)  # a tenth repeats an earlier medium and URL
    columns = {
        "key": hexes(rng.bytes(16 * count)),
        "outcome": pa.array(["success"] * count),
        "original_width": pa.array(rng.integers(200, 2000, count), pa.int32()),
        "original_height": pa.array(rng.integers(200, 2000, count), pa.int32()),
        "bytes": pa.array(rng.integers(10_000, 500_000, count)),
        "sha256": pa.array([f"{value:064x}" for value in copied.tolist()]),
        "url": pa.array([f"https://example.org/{value}.jpg" for value in copied.tolist()]),
    }
    if with_texts:
        words = np.array([f"w{i}" for i in range(20_000)])[rng.integers(0, 20_000, (count, 10))]
        texts = [[{"text": " ".join(row), "kind": "alt", "lang": None}] for row in words.tolist()]
        for i in np.flatnonzero(rng.random(count) < 0.1).tolist():
            texts[i] = [texts[i // 2][0] | {"text": texts[i // 2][0]["text"] + " more"}]
        columns["texts"] = pa.array(texts, FETCHED.field("texts").type)
    return pa.table(columns)


def hexes(data):
    """32 hex digits for each 16 bytes."""
    text = data.hex().encode()
    offsets = np.arange(0, len(text) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def drawn_hashes(rng, start, count):
    """Hashes with half of their bits set, as those of photos; a tenth within 2 bits of an earlier one of the part."""
    halves = np.argsort(rng.random((count, 64), dtype=np.float32), axis=1) < 32
    hashes = np.packbits(halves, axis=1).view(np.uint64)[:, 0]
    near = np.flatnonzero(rng.random(count) < 0.1)
    hashes[near] = hashes[near // 2] ^ (np.uint64(1) << rng.integers(0, 64, len(near), np.uint64))
    return pa.array(hashes)


def drawn_vectors(rng, start, count, width=WIDTH):
    """Unit rows around 1,000 centres, a tenth of them near copies of an earlier one of the part."""
    centres = np.random.default_rng(1).standard_normal((1000, width), np.float32)
    vectors = centres[rng.integers(0, 1000, count)] + 0.8 * rng.standard_normal((count, width), np.float32)
    near = np.flatnonzero(rng.random(count) < 0.1)
    vectors[near] = vectors[near // 2] + 0.05 * rng.standard_normal((len(near), width), np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


ONE = {"run": run, "draw": draw}


def all_pairs(*, quick):
    """Seconds of CPU of tools that compare all pairs, or hold everything in memory, by rows."""
    found = {}
    for name, peer in PEERS.items():
        sizes = [rows // 5 if quick else rows for rows in peer[1]]
        try:
            found[name] = {rows: peer[0](rows) for rows in sizes}
        except ImportError as error:
            found[name] = f"not installed: {error}"
        print(f"{name}: {found[name]}", file=sys.stderr)
    return found


def cpu_of(work):
    start = time.process_time()
    work()
    return round(time.process_time() - start, 2)


def imagehash_pairs(rows):
    import imagehash

    bits = np.random.default_rng(0).random((rows, 8, 8)) < 0.5
    hashes = [imagehash.ImageHash(value) for value in bits]
    return cpu_of(lambda: [a - b for i, a in enumerate(hashes) for b in hashes[:i]])


def faiss_hashes(rows):
    import faiss

    codes = np.random.default_rng(0).integers(0, 256, (rows, 8), np.uint8)
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    return cpu_of(lambda: index.range_search(codes, 5))


def faiss_vectors(rows):
    import faiss

    vectors = drawn_vectors(np.random.default_rng(0), 0, rows).astype(np.float32)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors)
    return cpu_of(lambda: index.range_search(vectors, 0.95))


def datasketch_texts(rows):
    from datasketch import MinHash, MinHashLSH

    words = np.random.default_rng(0).integers(0, 20_000, (rows, 10)).tolist()

    def work():
        index = MinHashLSH(threshold=0.7, num_perm=128)
        for row, drawn in enumerate(words):
            text = " ".join(f"w{word}" for word in drawn)
            sketch = MinHash(num_perm=128)
            sketch.update_batch([text[i : i + 5].encode() for i in range(len(text) - 4)])
            index.query(sketch)
            index.insert(row, sketch)

    return cpu_of(work)


PEERS = {
    "imagehash, all pairs of hashes": (imagehash_pairs, (1_000, 2_000)),
    "faiss IndexBinaryFlat, radius 4": (faiss_hashes, (20_000, 100_000)),
    "faiss IndexFlatIP, cosine 0.95": (faiss_vectors, (10_000, 40_000)),
    "datasketch MinHashLSH": (datasketch_texts, (2_000, 10_000)),
}
"""What is run beside, and on how many rows; a fifth of them with --quick."""


if __name__ == "__main__":
    main()
