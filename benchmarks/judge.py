"""How long another opinion takes: ten million scored rows in a thousand parts, judged anew by other thresholds.

    .venv/bin/python benchmarks/judge.py [--quick] [--rows N] [--workers N] [--out FOLDER]

Plants a dataset with records of all stages up to the scores (drawn facts, no medium), judges it once, then changes
thresholds and calls what `pairmill judge` calls, in a process of its own: every stage before it looks whether it is up
to date. Prints a line per measurement on standard error, and one JSON line at the end. `--quick` takes a million rows.
"""

import argparse
import json
import os
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

import pipeline.curate
from pipeline.commit import publish
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import Engine, EngineConfig
from pipeline.filter.steps.duplicates import COLUMNS as DUPLICATES
from pipeline.recipe import check
from pipeline.record import FETCHED
from pipeline.stage import Made, scratch_folder

PART_ROWS = 10_000
RULES = [
    {"name": "too_few_words", "column": "text.num_words", "min": 3},
    {"name": "too_small", "keep": "image.min_side_px >= {min_side_px} and image.aspect <= 3"},
    {"name": "repeats_itself", "column": "text.max_word_share", "max": 0.8},
]
TOP = {"name": "not_of_the_top", "keep": "image.body_bytes >= quantile(image.body_bytes, {q})"}


def main():
    options = arguments()
    if options.plant:
        plant(options.plant, options.rows)
    elif options.judge:
        print(json.dumps(judge(options.judge, options.min_side_px, options.q, options.workers)))
    else:
        measure(options)


def measure(options):
    rows = 1_000_000 if options.quick else options.rows
    with tempfile.TemporaryDirectory(prefix="pairmill-judge-", dir=options.out) as folder:
        started = time.monotonic()
        ask("--plant", folder, "--rows", str(rows))
        say(f"planted {rows:,} rows in {time.monotonic() - started:.1f} s")
        runs = {
            "first": ask("--judge", folder, "--workers", str(options.workers)),
            "other_thresholds": ask("--judge", folder, "--min-side-px", "220", "--workers", str(options.workers)),
            "same_thresholds": ask("--judge", folder, "--min-side-px", "220", "--workers", str(options.workers)),
            "first_quantile": ask("--judge", folder, "--q", "0.7", "--workers", str(options.workers)),
            "other_quantile": ask("--judge", folder, "--q", "0.6", "--workers", str(options.workers)),
        }
    again = runs["other_thresholds"]
    print(
        json.dumps(
            {
                "rows": rows,
                "seconds": again["seconds"],
                "rss_mb": again["rss_mb"],
                "cpu_s": again["cpu_s"],
                "parts": -(-rows // PART_ROWS),
                "workers": options.workers,
                "runs": runs,
                "quick": options.quick,
                **about("numpy", "pyarrow", "pydantic"),
            }
        )
    )


def recipe_of(folder, min_side_px=200, q=None):
    rules = [*RULES] if q is None else [*RULES, TOP]
    filled = [{key: fill(value, min_side_px, q) for key, value in rule.items()} for rule in rules]
    settings = {
        "name": "judged",
        "dataset": f"{folder}/dataset",
        "source": {"kind": "cc3m", "path": f"{folder}/list.tsv"},
        "verdict": {"rules": filled},
    }
    return check(DatasetRecipe, settings, where="benchmark")


def fill(value, min_side_px, q):
    return value.format(min_side_px=min_side_px, q=q) if isinstance(value, str) else value


def judge(folder, min_side_px, q, workers):
    """One call of what `pairmill judge` calls; seconds, CPU and memory of this process."""
    started, stages = time.monotonic(), []

    def progress(stage, done, total):
        if not stages or stages[-1][0] != stage:
            stages.append((stage, time.monotonic() - started))

    engine = EngineConfig(place="process", workers=workers)
    done = curate(recipe_of(folder, min_side_px, q), engine, until="judge", progress=progress)
    used = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime + children.ru_utime + children.ru_stime, 2),
        "rss_mb": round((used.ru_maxrss + children.ru_maxrss) / 1024),
        "judge_began_after_s": round(next((at for stage, at in stages if stage == "judge"), 0), 2),
        "kept": done.funnel.hops[-1].rows_out,
    }
    say(f"min_side_px={min_side_px} q={q}: {found}")
    return found


def plant(folder, rows, planter=None):
    """A dataset up to its scores, by the project's own planning and commits; what a stage would make is drawn."""
    Path(folder, "list.tsv").write_text("a caption\thttp://example.com/a.jpg\n")
    pipeline.curate.Engine = lambda *args: (planter or Planter)(*args, rows)
    curate(recipe_of(folder), EngineConfig(place="process"), until="score")


class Planter(Engine):
    """Commits drawn parts where the engine would run a stage."""

    def __init__(self, dataset, config, progress, rows):
        super().__init__(dataset, config, progress)
        sizes = [PART_ROWS] * (rows // PART_ROWS) + [rows % PART_ROWS] * (rows % PART_ROWS > 0)
        self.sizes = {f"{number:05d}": size for number, size in enumerate(sizes)}

    def run(self, stage, parts):
        _, pending = self.plan(stage, parts)
        with scratch_folder(self.dataset) as scratch:
            return {
                part.id: publish(self.dataset, stage.name, part.id, made_by, self.made(stage, part.id, scratch))
                for part, made_by in pending
            }

    def made(self, stage, part, scratch):
        if stage.name == "ingest":
            names = [
                {"name": f"candidates/part-00000-{int(one):05d}.parquet", "rows": n} for one, n in self.sizes.items()
            ]
            files = {}
            for name in names:
                files[name["name"]] = scratch / Path(name["name"]).name
                files[name["name"]].write_bytes(name["name"].encode())
            rows = sum(self.sizes.values())
            return Made(files, rows, rows, {"rows": rows, "fault": 0}, {"parts": names})
        if stage.name.startswith("duplicates-"):
            return Made({}, 0, 0)
        rows, rng = self.sizes[part], np.random.default_rng([int(part), 7])
        keys = pa.array(hex_keys(rng, rows))
        local = scratch / "made.parquet"
        if stage.name == "fetch":
            lost = rng.random(rows) < 0.1
            pq.write_table(self.raw(part, keys, lost), local, compression="zstd")
            counts = {"success": int((~lost).sum()), "http_404": int(lost.sum())}
            more = self.media(part, scratch)
            return Made({f"raw/{part}.parquet": local, **more}, rows, counts["success"], counts)
        name = stage.name.removeprefix("score-")
        lost = rng.random(rows) < 0.1
        schema = DUPLICATES if name == "duplicates" else stage.scorer.writes
        columns = {"key": keys} | {field.name: self.score(field, part, rng, lost) for field in schema}
        pq.write_table(pa.table(columns), local, compression="zstd")
        return Made({f"scores/{name}/{part}.parquet": local}, rows, rows, {"scored": rows})

    def raw(self, part, keys, lost):
        return raw_table(keys, lost)

    def media(self, part, scratch):
        return {}

    def score(self, field, part, rng, lost):
        return drawn(field, rng, lost)


def hex_keys(rng, rows):
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (rows, 32))]
    return digits.view("S32")[:, 0].astype(str)


def raw_table(keys, lost, more=()):
    """The record of rows of which some are lost; `more` are further columns, all others are null."""
    rows = len(keys)
    columns = {
        "key": keys,
        "outcome": pa.array(np.where(lost, "http_404", "success")),
        "url": pa.array([f"https://example.com/{key}.jpg" for key in keys.to_pylist()]),
        "caption": pa.array([f"a caption of the medium {key}" for key in keys.to_pylist()]),
        **dict(more),
    }
    nulls = {field.name: pa.nulls(rows, field.type) for field in FETCHED if field.name not in columns}
    return pa.table({field.name: columns.get(field.name, nulls.get(field.name)) for field in FETCHED})


def drawn(field, rng, lost):
    rows = len(lost)
    name, kind = field.name, field.type
    if name.endswith("_rank"):
        values = (rng.random(rows) < 0.05).astype(np.int64)
    elif name in ("min_side_px", "max_side_px"):
        values = rng.lognormal(5.7, 0.6, rows).astype(np.int32)
    elif name == "aspect":
        values = 1 + rng.exponential(0.5, rows)
    elif name == "body_bytes":
        values = rng.lognormal(10.5, 1, rows).astype(np.int64)
    elif pa.types.is_boolean(kind):
        values = rng.random(rows) < 0.5
    elif pa.types.is_integer(kind):
        values = rng.integers(0, 30, rows)
    else:
        values = rng.random(rows)
    return pa.array(values, mask=lost).cast(kind, safe=False)


def ask(*arguments):
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout) if done.stdout else None


def say(words):
    print(words, file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description="How long judging ten million rows anew takes.")
    parser.add_argument("--quick", action="store_true", help="a million rows; ends within a minute")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the dataset (10,000,000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="parts at once; default: one per CPU")
    parser.add_argument("--out", help="folder for the dataset; default: the system's temporary folder")
    parser.add_argument("--plant", help=argparse.SUPPRESS)
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    parser.add_argument("--min-side-px", type=int, default=200, help=argparse.SUPPRESS)
    parser.add_argument("--q", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
