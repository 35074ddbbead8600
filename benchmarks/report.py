"""How `pairmill report` grows with the rows: seconds and memory of the command, from 100 thousand rows to ten million.

    .venv/bin/python benchmarks/report.py [--quick] [--most ROWS] [--folder FOLDER]

Plants datasets as benchmarks/judge.py does, with what a page looks at beside: hosts (a million, most rows at few),
licences, languages, similarities, pairs and one crowd of duplicates, clusters of embeddings, pictures in the raw tars.
They are judged, and the command is run on each in a process of its own: `rss_mb` is its peak, `seconds` from its start
to its end. `growth_exponent` is the slope of log cpu_s over log rows. Prints a line per run on standard error, and one
JSON line at the end. `--quick` ends within 50 seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from about import about
from dedup import exponent
from judge import PART_ROWS, Planter, ask, drawn, hex_keys, plant, raw_table, say

from pipeline.commit import publish, read_commits
from pipeline.filter.scorers.clip import ClipScore
from pipeline.filter.scorers.language import LanguageScore
from pipeline.filter.steps.clusters import COLUMNS as CLUSTERS
from pipeline.filter.steps.semantic import COLUMNS as SEMANTIC
from pipeline.record import FETCHED
from pipeline.stage import Made, scratch_folder
from pipeline.store import Store
from pipeline.tar import TarWriter

SIZES, QUICK = (100_000, 1_000_000, 10_000_000), (20_000, 100_000)
SCORES = {
    "clip": ClipScore.writes, "language": LanguageScore.writes, "near_duplicates": CLUSTERS, "semantic": SEMANTIC
}  # fmt: skip
"""Facts that the page looks at, beside those that the verdict does."""
HOSTS, SEMANTIC_CLUSTERS, CROWD, PICTURES = 1_000_000, 50_000, 100, 8
LANGS = np.array(["en", "de", "fr", "es", "zh", "ru", "ja"])
LICENCES = np.array(["https://creativecommons.org/licenses/by/4.0/", "CC0", "All rights reserved", "?"])


def main():
    parser = argparse.ArgumentParser(description="How long the report of a dataset takes, as rows grow.")
    parser.add_argument("--quick", action="store_true", help="small sizes, within 50 seconds")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="leave out sizes above this")
    parser.add_argument("--folder", help="where datasets are planted; 5 GB for ten million rows")
    parser.add_argument("--plant", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plant:
        plant_photos(options.plant[0], int(options.plant[1]))
        return
    sizes = [rows for rows in (QUICK if options.quick else SIZES) if rows <= options.most]
    runs = [measure(options.folder, rows) for rows in sizes]
    last = runs[-1]
    print(
        json.dumps(
            {
                "benchmark": "report",
                "rows": last["rows"],
                "seconds": last["seconds"],
                "rss_mb": last["rss_mb"],
                "growth_exponent": exponent(runs),
                "runs": runs,
                "quick": options.quick,
                **about("numpy", "pyarrow", "pillow"),
            }
        )
    )


def measure(folder, rows):
    with tempfile.TemporaryDirectory(prefix="pairmill-report-", dir=folder) as planted:
        started = time.monotonic()
        subprocess.run([sys.executable, __file__, "--plant", planted, str(rows)], check=True, stdout=sys.stderr)
        say(f"planted and judged {rows:,} rows in {time.monotonic() - started:.1f} s")
        found = {"rows": rows, **report(f"{planted}/dataset", f"{planted}/report.html")}
    found["rows_per_cpu_s"] = round(rows / found["cpu_s"])
    say(f"{found}")
    return found


def report(dataset, page):
    """One run of the command, and what it cost."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "cluster.cli", "report", dataset, "--out", page])
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"pairmill report ended with {process.returncode}")
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "rss_mb": round(used.ru_maxrss / 1024),
        "page_mb": round(Path(page).stat().st_size / 1e6, 2),
    }


def plant_photos(folder, rows):
    """A judged dataset with pictures, and the scores of scorers that its recipe does not name."""
    plant(folder, rows, PhotoPlanter)
    ask("--judge", folder, "--workers", "2")
    dataset = Store(f"{folder}/dataset")
    planter = PhotoPlanter(dataset, None, None, rows)
    for part, size in planter.sizes.items():
        keys = pa.array(hex_keys(np.random.default_rng([int(part), 7]), size))
        for name, schema in SCORES.items():
            rng = np.random.default_rng([int(part), 8])
            lost = rng.random(size) < 0.1
            columns = {"key": keys} | {field.name: planter.score(field, part, rng, lost) for field in schema}
            with scratch_folder(dataset) as scratch:
                local = scratch / "scores.parquet"
                pq.write_table(pa.table(columns), local, compression="zstd")
                file = {f"scores/{name}/{part}.parquet": local}
                publish(dataset, f"score-{name}", part, "drawn", Made(file, size, size, {"scored": size}))
    say(f"{sum(len(read_commits(dataset, stage)) for stage in dataset.folders('commits')):,} commit records")


class PhotoPlanter(Planter):
    """Rows with hosts, licences, languages and pictures, and with duplicates that belong together."""

    def __init__(self, dataset, config, progress, rows):
        super().__init__(dataset, config, progress, rows)
        self.rows = rows
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "photos.tar")
            with TarWriter(path) as tar:
                self.members = [tar.add(f"{i}.jpg", photo(i)) for i in range(PICTURES)]
            self.tar = path.read_bytes()

    def numbers(self, part):
        return np.arange(self.sizes[part]) + int(part) * PART_ROWS

    def raw(self, part, keys, lost):
        number, rng = self.numbers(part), np.random.default_rng([int(part), 9])
        rows = len(number)
        host = (rng.random(rows) ** 4 * HOSTS).astype(np.int64)
        picture = number % PICTURES
        texts = [[{"text": f"a photo of things, number {n}", "kind": "alt", "lang": None}] for n in number.tolist()]
        licence = LICENCES[rng.integers(0, len(LICENCES), rows)]
        offsets = np.array([member.data_offset for member in self.members])[picture]
        sizes = np.array([member.data_size for member in self.members])[picture]
        more = {
            "url": pa.array([f"https://h{h}.example.com/{n}.jpg" for h, n in zip(host.tolist(), number, strict=True)]),
            "texts": pa.array(texts, FETCHED.field("texts").type),
            "meta": pa.array([json.dumps({"LICENSE": name, "WIDTH": 640}) for name in licence.tolist()]),
            "sha256": pa.array([f"{group:064x}" for group in duplicates(number, 0)[0].tolist()], mask=lost),
            "medium": pa.array(["image"] * rows),
            "mime": pa.array(["image/jpeg"] * rows, mask=lost),
            "tar_offset": pa.array(offsets, mask=lost),
            "tar_bytes": pa.array(sizes, mask=lost),
            "fetched_at": pa.array(1_790_000_000_000 + number, pa.timestamp("ms", tz="UTC"), mask=lost),
        }
        return raw_table(keys, lost, more)

    def media(self, part, scratch):
        local = scratch / "made.tar"
        local.write_bytes(self.tar)
        return {f"raw/{part}.tar": local}

    def score(self, field, part, rng, lost):
        group, copies, rank = duplicates(self.numbers(part), self.rows)
        if field.name.endswith("copies"):
            return pa.array(copies, field.type, mask=lost)
        if field.name.endswith("rank"):
            return pa.array(rank, field.type, mask=lost)
        if field.name == "lang":
            return pa.array(LANGS[(rng.random(len(lost)) ** 3 * len(LANGS)).astype(int)], mask=lost)
        if field.name == "cluster":
            clusters = group if field.type == pa.uint64() else rng.integers(0, SEMANTIC_CLUSTERS, len(lost))
            return pa.array(clusters, field.type, mask=lost)
        return drawn(field, rng, lost)


def duplicates(number, rows):
    """(group, its size, rank in it) of rows: one row of a hundred is in a crowd, a tenth of the others in pairs."""
    in_crowd, in_pair = number % CROWD == 7, number // 2 % 10 == 0
    group = np.where(in_crowd, 7, np.where(in_pair, number // 2 * 2, number)).astype(np.uint64)
    copies = np.where(in_crowd, max(1, rows // CROWD), np.where(in_pair, 2, 1))
    return group, copies, np.where(in_crowd, number // CROWD, np.where(in_pair, number % 2, 0))


def photo(seed):
    """A JPEG of 256 x 192 with soft colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(small.repeat(32, 0).repeat(32, 1)), quality=90)


if __name__ == "__main__":
    main()
