"""How fast pairmill fetches, beside img2dataset: same list, same local server, same machine, same output quality.

    .venv/bin/python benchmarks/ingest.py [--quick] [--million] [--out FOLDER]

Both sides run in processes of their own and take turns over the same rows, 256 px, ratio kept, quality 95, one worker
each. Prints a line per measurement on standard error, and one JSON line at the end. `--quick` takes few images and ends
within a minute; `--million` also fetches a million rows, to see that memory stays flat (ten minutes).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
from about import about
from ingest_photos import SIZES, write_photos
from ingest_web import addresses

HERE = Path(__file__).parent
CONCURRENCY = 64
"""Requests at once of each side."""
COUNTS = {"500": 1500, "1024": 800, "2048": 300}
QUICK_COUNTS = {"500": 320, "1024": 200, "2048": 80}
ONE_ROW_PER_HOST = 500
MACHINES = (1, 10, 100)
CODECS = ("own", "library")
LIST_ROWS = 400_000_000


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="pairmill-ingest-", dir=options.out) as folder:
        bench = Bench(Path(folder), options.quick)
        try:
            result = bench.run(options)
        finally:
            bench.close()
    print(json.dumps(result))


class Bench:
    """Holds the web, the two sides, and what was measured: (size, side) -> list of answers."""

    def __init__(self, folder, quick):
        self.folder, self.quick = folder, quick
        self.photos = write_photos(folder / "photos", 12 if quick else 32)
        self.web = start("ingest_web.py", str(folder / "photos"), str(ONE_ROW_PER_HOST))
        self.port = int(self.web.stdout.readline())
        self.sides = {}
        self.runs = 0

    def close(self):
        for process in [self.web, *self.sides.values()]:
            process.stdin.close()
            process.wait()

    def run(self, options):
        result = {"startup_s": self.startup_s(1 if self.quick else 3)}
        self.sides = {name: start("ingest_sides.py", name) for name in ("img2dataset", "pairmill")}
        counts = QUICK_COUNTS if self.quick else COUNTS
        for side in self.sides:
            self.fetch(side, "500", 32)
        measured = {}
        for _ in range(1 if self.quick else 3):
            for size in SIZES:
                for side in self.sides:
                    measured.setdefault((size, side), []).append(self.fetch(side, size, counts[size]))
                for codec in CODECS:
                    measured.setdefault((size, codec), []).append(self.codec(size, counts[size], codec))
        result |= figures(measured)
        if not self.quick:
            alone = {side: self.fetch(side, "500", ONE_ROW_PER_HOST, ONE_ROW_PER_HOST) for side in self.sides}
            result["ratio_cpu_one_row_per_host"] = round(
                alone["img2dataset"]["cpu_s"] / alone["pairmill"]["cpu_s"], 2
            )
        result["rss_mb"] = self.rss_mb([10_000, 1_000_000] if options.million else [10_000])
        facts = self.facts()
        result["list_of_400_million"] = extrapolated(result, facts["photo_bytes"])
        return {**result, **facts}

    def facts(self):
        sizes = {name: list((self.folder / "photos" / name).glob("*.jpg")) for name in SIZES}
        return {
            "quick": self.quick,
            "photos": self.photos,
            "photo_bytes": {name: sum(f.stat().st_size for f in files) // len(files) for name, files in sizes.items()},
            "concurrency": CONCURRENCY,
            **about(*PACKAGES),
        }

    def fetch(self, side, size, rows, hosts=1):
        answer = self.ask(self.sides[side], size, rows, hosts)
        say(f"{side:12} {size:>5} px", answer)
        return answer

    def ask(self, process, size, rows, hosts=1):
        self.runs += 1
        rows_file = self.folder / f"list-{self.runs}.parquet"
        self.write_list(rows_file, size, rows, hosts)
        task = {"do": "fetch", "rows": str(rows_file), "out": str(self.folder / f"out-{self.runs}")}
        answer = ask(process, **task, port=self.port, concurrency=CONCURRENCY)
        assert answer["ok"] == rows, f"{answer['ok']} of {rows} rows"
        subprocess.run(["rm", "-rf", task["out"]], check=True)
        return answer

    def codec(self, size, images, codec):
        folder = str(self.folder / "photos" / size)
        answer = ask(self.sides["pairmill"], do="codec", folder=folder, images=images, codec=codec)
        say(f"{codec + ' codec':13} {size:>4} px", answer)
        return answer

    def write_list(self, file, size, rows, hosts):
        names, photos = addresses(hosts), len(list((self.folder / "photos" / size).glob("*.jpg")))
        with pq.ParquetWriter(file, pa.schema([("url", pa.string()), ("caption", pa.string())])) as writer:
            for first in range(0, rows, 100_000):
                block = range(first, min(first + 100_000, rows))
                urls = [f"http://{names[k % hosts]}:{self.port}/{size}/{k % photos}?row={k}" for k in block]
                writer.write_table(pa.table({"url": urls, "caption": [f"photo number {k}" for k in block]}))

    def startup_s(self, repeats):
        """From the start of a process to its first stored image, its commit included."""
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            process = start("ingest_sides.py", "pairmill")
            self.ask(process, "500", 1)
            taken.append(time.perf_counter() - began)
            process.stdin.close()
            process.wait()
        print(f"start-up {median(taken):.2f} s", file=sys.stderr)
        return round(median(taken), 2)

    def rss_mb(self, counts):
        """Peak memory of a fresh process that fetches so many rows with tiny bodies."""
        peaks = {}
        for rows in counts:
            process = start("ingest_sides.py", "pairmill")
            answer = self.ask(process, "tiny", rows)
            say(f"{rows} rows, {answer['peak_mb']:.0f} MB", answer)
            peaks[str(rows)] = round(answer["peak_mb"])
            process.stdin.close()
            process.wait()
        return peaks


PACKAGES = (
    "pairmill", "img2dataset", "httptools", "uvloop", "simplejpeg", "opencv-python-headless", "pyarrow", "numpy",
)  # fmt: skip


def figures(measured):
    """Rates and ratios from the answers of all rounds."""
    def rate(size, who, what):
        answers = measured[size, who]
        return sum(answer["ok"] for answer in answers) / sum(answer[what] for answer in answers)

    sides = ("pairmill", "img2dataset")
    cpu = {who: {size: round(rate(size, who, "cpu_s"), 1) for size in SIZES} for who in (*sides, *CODECS)}
    wall = {who: {size: round(rate(size, who, "wall_s"), 1) for size in SIZES} for who in sides}
    return {
        "ratio_cpu": {size: round(cpu["pairmill"][size] / cpu["img2dataset"][size], 2) for size in SIZES},
        "ratio_wall": {size: round(wall["pairmill"][size] / wall["img2dataset"][size], 2) for size in SIZES},
        "codec_overhead": {size: round(cpu["library"][size] / cpu["pairmill"][size], 2) for size in SIZES},
        "own_codec_overhead": {size: round(cpu["own"][size] / cpu["pairmill"][size], 2) for size in SIZES},
        "images_per_cpu_s": cpu,
        "images_per_s": wall,
    }


def extrapolated(result, photo_bytes):
    """Days that a list takes on machines of this kind: a worker on each CPU, and all images as those of this web.

    It holds where every link answers and the network brings what the CPUs can take: `mbit_per_s` on each machine.
    """
    days, mbit = {}, {}
    for size in SIZES:
        rate = result["images_per_cpu_s"]["pairmill"][size] * os.cpu_count()
        days[size] = {str(n): round(LIST_ROWS / rate / n / 86_400, 2) for n in MACHINES}
        mbit[size] = round(rate * photo_bytes[size] * 8 / 1e6)
    return {"days_on_machines": days, "mbit_per_s": mbit, "cpus_of_a_machine": os.cpu_count()}


def start(*command):
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    if command[0] == "ingest_sides.py":
        options["stderr"] = None if os.environ.get("BENCH_DEBUG") else subprocess.DEVNULL
    return subprocess.Popen([sys.executable, str(HERE / command[0]), *command[1:]], **options)


def ask(process, **task):
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"{process.args[1:]} ended without an answer; set BENCH_DEBUG=1 to see why")
    return json.loads(answer)


def say(who, answer):
    rates = [f"{answer['ok'] / answer[what]:8.1f} images per {name}" for what, name in UNITS]
    print(f"{who}: {', '.join(rates)}", file=sys.stderr)


UNITS = (("cpu_s", "CPU-second"), ("wall_s", "second"))


def arguments():
    parser = argparse.ArgumentParser(description="How fast pairmill fetches, beside img2dataset.")
    parser.add_argument("--quick", action="store_true", help="few images, once; ends within a minute")
    parser.add_argument("--million", action="store_true", help="also fetch a million rows for rss_mb")
    parser.add_argument("--out", help="folder for what is fetched; default: the system's temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
