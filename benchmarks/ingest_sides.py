"""The two sides of benchmarks/ingest.py, each in a process of its own: img2dataset, and pairmill's ingest and fetch.

    python benchmarks/ingest_sides.py pairmill|img2dataset

Takes one JSON task a line on standard input, gives one JSON answer a line on standard output. CPU is that of this
process and of those it waited for, all threads, user and system. Of img2dataset the same classes run as in its own
worker, with its defaults but for the size and the number of threads; left out, in its favour, are its start-up, the
cutting of the list, the pool of processes and the logger. Of pairmill everything that follows the imports is counted.
"""

import contextlib
import importlib
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path

SIZE_PX = 256
QUALITY = 95


def main():
    sides = {"pairmill": pairmill_tasks, "img2dataset": img2dataset_tasks}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.disable(logging.WARNING)
    tasks = sides[sys.argv[1]]()
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(tasks[task.pop("do")](**task)), file=answers, flush=True)


class Meter:
    """CPU and wall seconds of a `with` block."""

    def __enter__(self):
        self.cpu_s, self.wall_s = -cpu_s(), -time.perf_counter()
        return self

    def __exit__(self, *_):
        self.cpu_s += cpu_s()
        self.wall_s += time.perf_counter()


def cpu_s():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pairmill_tasks():
    from pipeline.engine import Engine, EngineConfig
    from pipeline.ingest.fetch.config import FetchConfig
    from pipeline.ingest.fetch.stage import Fetch
    from pipeline.ingest.media.image import ImageConfig
    from pipeline.ingest.read import Ingest, IngestConfig
    from pipeline.ingest.sources import source_config
    from pipeline.store import Store

    def fetch(rows, out, port, concurrency):
        with Meter() as meter:
            source = source_config({"kind": "table", "path": rows, "url": "url", "text": "caption"})
            web = {"ports": [port], "allow_private": ["127.0.0.0/8"]}
            config = FetchConfig(**web, concurrency=concurrency, per_host=concurrency, cpus=1)
            engine = Engine(Store(out), EngineConfig(place="process", workers=1))
            ingest = Ingest(source, IngestConfig())
            ingested = engine.run(ingest, ingest.parts())
            stage = Fetch(config, ImageConfig(size_px=SIZE_PX, quality=QUALITY))
            commits = engine.run(stage, stage.parts(ingested))
        ok = sum(commit.rows_out for commit in commits.values())
        return {"cpu_s": meter.cpu_s, "wall_s": meter.wall_s, "ok": ok, "peak_mb": peak_mb()}

    return {"fetch": fetch, "codec": bare_codec}


def bare_codec(folder, images, codec):
    """Decode, resize and encode, in a row, in one thread, nothing else.

    `own`: the calls that the stage makes. `library`: the fastest that libraries give at this quality: libjpeg-turbo
    at a reduced scale and back by simplejpeg, OpenCV between.
    """
    import cv2

    from pipeline.ingest.media import geometry, jpeg

    cv2.setNumThreads(1)
    plans = []
    for file in sorted(Path(folder).glob("*.jpg")):
        body = file.read_bytes()
        header = jpeg.read_header(body)
        plans.append((body, header, geometry.plan_geometry(header.width, header.height, "keep_ratio", SIZE_PX, True)))

    def own(body, header, to):
        assert jpeg.shrink(body, header, to, QUALITY) is not None

    def library(body, header, to):
        decoded = jpeg.decode(body, header, jpeg.least_scale(header, to.width, to.height), fast_color=True)
        jpeg.encode(geometry.shape(decoded, to, 1, "lanczos"), QUALITY)

    once = {"own": own, "library": library}[codec]
    with Meter() as meter:
        for k in range(images):
            once(*plans[k % len(plans)])
    return {"cpu_s": meter.cpu_s, "wall_s": meter.wall_s, "ok": images}


def img2dataset_tasks():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import asks a registry otherwise
    peer = importlib.import_module("img2dataset.main")  # the package hides its module behind a function
    spent = []

    def in_this_process(_processes, downloader, reader, _subjob, _retries):
        for shard in reader:
            with Meter() as meter:
                done, _ = downloader(shard)
            assert done, shard
            spent.append(meter)

    class NoLogger:
        def __init__(self, *_):
            self.done_shards = set()

        def start(self):
            pass

        join = start

    peer.multiprocessing_distributor, peer.LoggerProcess = in_this_process, NoLogger

    def fetch(rows, out, port, concurrency):
        spent.clear()
        with contextlib.redirect_stdout(sys.stderr):
            peer.download(**peer_options(rows, out, concurrency))
        stats = [json.loads(file.read_text()) for file in Path(out).glob("*_stats.json")]
        return {
            "cpu_s": sum(item.cpu_s for item in spent),
            "wall_s": sum(item.wall_s for item in spent),
            "ok": sum(item["successes"] for item in stats),
            "peak_mb": peak_mb(),
        }

    return {"fetch": fetch}


def peer_options(rows, out, threads):
    """The arguments of img2dataset; all others are its defaults."""
    return {
        "url_list": rows,
        "output_folder": out,
        "input_format": "parquet",
        "output_format": "webdataset",
        "url_col": "url",
        "caption_col": "caption",
        "image_size": SIZE_PX,
        "resize_mode": "keep_ratio",
        "encode_quality": QUALITY,
        "processes_count": 1,
        "thread_count": threads,
    }


if __name__ == "__main__":
    main()
