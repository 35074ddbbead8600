"""What a shard costs to write: our writer beside webdataset's TarWriter, and beside the same bytes written plain.

    .venv/bin/python benchmarks/writer.py [--quick] [--s3]

Samples of a medium (noise, as JPEGs are), a JSON and a caption, all in memory before the clock starts; sizes of 256 px
and of 384 px images. Each side writes the same members in the same order, in turns, in a folder in memory and in one on
disk, there with fsync; best of all turns. `hashed` is what a cut runs: the tar, its sha256 and that of each medium.
`bare` is our writer without hashes, which is all that TarWriter does. `plain` writes the finished tar's bytes again, a
megabyte at a time. `stage` is the whole: from raw tars to committed shards, and verifying them. With --s3, that on
moto's server on loopback too, beside boto3's upload of the same files. Prints one JSON line.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import webdataset
from about import about
from writer_dataset import judged_dataset

from pipeline.engine import Engine, EngineConfig
from pipeline.record import sample_key
from pipeline.shard.config import ShardConfig
from pipeline.shard.hashed_tar import HashedTar
from pipeline.shard.verify import verify
from pipeline.shard.write import write_shards
from pipeline.store import Store
from pipeline.tar import TarWriter

KB = {"256 px": (15, 40), "384 px": (20, 60)}
"""Sizes of a medium, from and to."""
PIECE = 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few samples; ends within a minute")
    parser.add_argument("--s3", action="store_true", help="cut and verify on an S3 server on loopback too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ResourceWarning)
    num_samples, turns = (2_000, 3) if options.quick else (10_000, 7)
    result = {"samples": num_samples, "turns": turns, "sides": {}}
    for name, (least, most) in KB.items():
        samples = drawn(num_samples, least, most)
        result["sides"][name] = {where: sides(folder, samples, turns) for where, folder in folders().items()}
    result["ratio"] = figures(result["sides"], "hashed", "webdataset")
    result["ratio_bare"] = figures(result["sides"], "bare", "webdataset")
    result["plain"] = figures(result["sides"], "plain", "hashed")
    result["plain_bare"] = figures(result["sides"], "plain", "bare")
    result["stage"] = stage(num_samples)
    if options.s3:
        from writer_s3 import on_s3

        result["s3"] = on_s3(2_000)
    print(json.dumps({**result, **about("pairmill", "webdataset", "numpy", "pyarrow", "moto", "s3fs", "boto3")}))


def folders():
    """Where is written: name -> folder."""
    found = {"disk": tempfile.gettempdir()}
    if os.access("/dev/shm", os.W_OK):
        found["memory"] = "/dev/shm"
    return found


def drawn(num_samples, least, most):
    """(key, medium, JSON, caption) of each sample."""
    rng = np.random.default_rng(0)
    said = json.dumps({"url": "https://example.org/" + "a" * 60, "texts": [{"text": "a scene " * 6}]}).encode()
    sizes = rng.integers(least << 10, most << 10, num_samples).tolist()
    return [(sample_key("drawn", str(i)), rng.bytes(size), said * 3, b"a scene " * 6) for i, size in enumerate(sizes)]


def sides(parent, samples, turns):
    """Samples per second and per CPU-second of each side, best of all turns."""
    with tempfile.TemporaryDirectory(prefix="pairmill-writer-", dir=parent) as folder:
        path = Path(folder) / "x.tar"
        bare(path, samples)
        body = path.read_bytes()
        writers = {
            "hashed": lambda: hashed(path, samples),
            "bare": lambda: bare(path, samples),
            "webdataset": lambda: peer(path, samples),
            "plain": lambda: plain(path, body),
        }
        best = {name: [np.inf, np.inf] for name in writers}
        for _ in range(turns):
            for name, write in writers.items():
                path.unlink()
                began, cpu = time.perf_counter(), time.process_time()
                write()
                if parent != "/dev/shm":
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
                taken = time.perf_counter() - began, time.process_time() - cpu
                best[name] = [min(pair) for pair in zip(best[name], taken, strict=True)]
        return {
            "mb": round(len(body) / 1e6, 1),
            "per_s": {name: round(len(samples) / wall) for name, (wall, _) in best.items()},
            "per_cpu_s": {name: round(len(samples) / cpu) for name, (_, cpu) in best.items()},
        }


def hashed(path, samples):
    with HashedTar(path) as tar:
        for key, media, said, caption in samples:
            tar.add_hashed(key, [("jpg", media), ("json", said), ("txt", caption)], 1)
    assert len(tar.digests) == len(samples)


def bare(path, samples):
    with TarWriter(path) as tar:
        for key, media, said, caption in samples:
            tar.add_sample(key, [("jpg", media), ("json", said), ("txt", caption)])


def peer(path, samples):
    with webdataset.TarWriter(str(path), encoder=False) as tar:
        for key, media, said, caption in samples:
            tar.write({"__key__": key, "jpg": media, "json": said, "txt": caption})


def plain(path, body):
    whole = memoryview(body)
    with path.open("wb", buffering=0) as stream:
        for start in range(0, len(whole), PIECE):
            stream.write(whole[start : start + PIECE])


def figures(found, over, under):
    """How many times as many samples per second one side writes as another: wall, and CPU of the process."""
    return {
        name: {
            where: {
                "wall": round(item["per_s"][over] / item["per_s"][under], 2),
                "cpu": round(item["per_cpu_s"][over] / item["per_cpu_s"][under], 2),
            }
            for where, item in of_name.items()
        }
        for name, of_name in found.items()
    }


def stage(num_samples):
    """The whole of cutting and of verifying, on disk: samples and MB per second, from and to files."""
    folder = tempfile.mkdtemp(prefix="pairmill-writer-")
    try:
        dataset = Store(f"{folder}/dataset")
        parts = judged_dataset(dataset, drawn(num_samples, *KB["384 px"]))
        engine = Engine(dataset, EngineConfig(place="process", workers=2))
        return timed(engine, dataset, parts)
    finally:
        shutil.rmtree(folder)


def timed(engine, dataset, parts):
    marks = {}
    engine.progress = lambda name, done, total: marks.setdefault((name, done == total), time.perf_counter())
    manifest = write_shards(engine, ShardConfig(samples=1_000), parts, "writer")
    cut_s = marks["cut", True] - marks["cut", False]
    megabytes = sum(entry.bytes for entry in manifest.entries) / 1e6
    began = time.perf_counter()
    assert verify(dataset, engine) == []
    verify_s = time.perf_counter() - began
    return {
        "shards": sum(1 for _ in manifest.entries),
        "mb": round(megabytes, 1),
        "cut_samples_per_s": round(manifest.samples / cut_s),
        "cut_mb_per_s": round(megabytes / cut_s, 1),
        "verify_mb_per_s": round(2 * megabytes / verify_s, 1),
    }


if __name__ == "__main__":
    main()
