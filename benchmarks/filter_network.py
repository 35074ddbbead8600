"""A filter that trains itself, on real photos with planted noise: what it finds, and what filtering gives.

    PAIRMILL_DATA=... .venv/bin/python benchmarks/filter_network.py [--quick] [--out FOLDER] [--seeds 0,1,2]

Takes Flickr8k's 3,000 training photos, five captions each: half are the clean seed, half the pool, in which the
captions of 40 % of the pairs are shuffled so that each lands on another photo. `pairmill bootstrap flickr8k-dfn` runs
on them: the network learns from the seed, judges the pool and keeps 60 % of it; seed and kept pairs train a model anew.
The same training, from the same seed and for as many steps, then runs on seed and pool unfiltered; on seed and pool
without what was planted, as an oracle would filter it; and on what the filtered model keeps when it judges the pool in
its turn, a second round. Planting, split of the photos and training change with each seed.

Planted pairs that were dropped are the hits: precision is their share of what was dropped (chance: 40 %), recall their
share of what was planted (chance: what is dropped of all), AUC the probability that a planted pair scores below one
that was not (chance: 50 %). Retrieval is on 500 photos that no training has seen. Prints one JSON line; what is in
FOLDER already is not done again. `--quick` takes 120 photos, one seed and 4 steps, and runs the loop alone, to see that
it works.
"""

import argparse
import csv
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from about import about

from cluster.bootstrap.recipe import NETWORK, load_bootstrap
from cluster.bootstrap.run import bootstrap
from cluster.quickstart.run import local_web_settings
from cluster.quickstart.web import LocalWeb, Page
from cluster.site import load_site
from cluster.verbs.train import run_training
from pipeline.commit import read_commits
from pipeline.curate import curate
from pipeline.recipe import check
from pipeline.store import Store

NOISE = 0.4
QUICK = ["network.steps=4", "train.steps=4", "network.batch_size=32", "train.batch_size=32"]
QUICK += ["network.schedule.warmup_steps=1", "train.schedule.warmup_steps=1"]
MEASURES = [f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]


def main():
    options = arguments()
    data = os.environ.get("PAIRMILL_DATA")
    if not data or not Path(data, "image_text/flickr8k").is_dir():
        sys.exit("PAIRMILL_DATA must name a folder with image_text/flickr8k: captions.txt, train.txt, val.txt, images/")
    flickr = Path(data, "image_text/flickr8k")
    began = time.monotonic()
    seeds = {seed: run_seed(seed, Path(options.out) / f"seed-{seed}", flickr, options) for seed in options.seeds}
    line = {
        "what": "Flickr8k with 40 % of the pool's captions shuffled: found by a network trained on a clean seed",
        "ratio": round(statistics.mean(found["detection"]["precision"] for found in seeds.values()) / NOISE, 3),
        "summary": summary(list(seeds.values())),
        "seeds": seeds,
        "seconds": round(time.monotonic() - began),
        **about("pairmill", "torch", "deepspeed", "ray", "transformers", "numpy"),
    }
    print(json.dumps(line))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for everything that is made")
    parser.add_argument("--on", default="process", help="site (process)")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.out = options.out or ("pairmill-dfn-quick" if options.quick else "pairmill-dfn")
    options.seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    return options


def run_seed(seed, out, flickr, options):
    """Every arm of one seed, each kept in results.json once it is there."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "results.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    site = load_site(options.on, ["train.workers=1"] if options.quick else [])
    photos = Photos(flickr, seed, 40 if options.quick else 1500)
    with LocalWeb.on_kept_port(photos.pages(), out / "port") as web:
        photos.write_lists(out, web.url)
        recipe = load_bootstrap("flickr8k-dfn", settings(out, seed, web) + (QUICK if options.quick else []))

        def arm(name, pool):
            """Train on what `pool` keeps, unless that was done."""
            if name not in found:
                curate(pool, site.engine)
                found[name] = retrieval(run_training(recipe.train, site, str(out / name))["eval"])
                found[name]["pairs"] = sum(photos.counts(pool.dataset).values())
                kept.write_text(json.dumps(found))
                say(f"seed {seed} {name}: {found[name]}")

        if "filtered" not in found:
            made = bootstrap(recipe, site, say)
            found["detection"] = photos.detection(recipe.pool.dataset)
            found["seed_alone"], found["filtered"] = retrieval(made.network.eval), retrieval(made.train.eval)
            found["filtered"]["pairs"] = sum(photos.counts(recipe.pool.dataset).values())
            found["runs"] = [made.network.run, made.train.run]
            kept.write_text(json.dumps(found))
            say(f"seed {seed} detection: {found['detection']}\nseed {seed} filtered: {found['filtered']}")
        if not options.quick:
            arm("unfiltered", recipe.pool)
            arm("oracle", with_rule(recipe.pool, "planted", 'list.planted != "yes"'))
            second = recipe.judged_pool(found["runs"][1])
            if "second_detection" not in found:
                curate(second, site.engine)
                found["second_detection"] = photos.detection(second.dataset)
            arm("second_round", second)
    return {name: value for name, value in found.items() if name != "runs"}


class Photos:
    """The photos of one seed: which are the seed's, which the pool's, and which pairs of the pool are planted."""

    def __init__(self, flickr, seed, size):
        self.flickr, rng = flickr, random.Random(f"filter network {seed}")
        captions = {}
        with (flickr / "captions.txt").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                captions.setdefault(row["image"], []).append(" ".join(row["caption"].split()))
        train = (flickr / "train.txt").read_text().split()
        rng.shuffle(train)
        held_out = (flickr / "val.txt").read_text().split()[:size]

        def rows(names, split, origin):
            return [(name, caption, split, origin, "no") for name in names for caption in captions[name]]

        self.seed = rows(train[:size], "train", "seed")
        self.held_out = rows(held_out, "validation", "held_out")
        self.pool = planted(rows(train[size : 2 * size], "train", "pool"), rng)

    def pages(self):
        names = {row[0] for row in (*self.seed, *self.pool, *self.held_out)}
        return {name: Page(self.flickr / "images" / name) for name in names}

    def write_lists(self, out, url):
        for name, rows in {"seed": self.seed + self.held_out, "pool": self.seed + self.pool + self.held_out}.items():
            lines = ["url\tcaption\tsplit\torigin\tplanted"]
            lines += [f"{url}/{image}\t" + "\t".join(rest) for image, *rest in rows]
            (out / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def counts(self, dataset):
        """Samples that the dataset's train split holds, by what the list says of them."""
        found = {}
        for row in verdicts(dataset):
            if row["split"] == "train" and row["keep"]:
                name = f"{row['origin']} {row['planted']}"
                found[name] = found.get(name, 0) + 1
        return found

    def detection(self, dataset):
        """How well what was dropped is what was planted, among the pool's own pairs."""
        rows = [row for row in verdicts(dataset) if row["origin"] == "pool" and row["dropped_by"] in (None, NETWORK)]
        bad = np.array([row["planted"] == "yes" for row in rows])
        dropped = np.array([not row["keep"] for row in rows])
        hits = int((bad & dropped).sum())
        precision, recall = hits / int(dropped.sum()), hits / int(bad.sum())
        return {
            "pairs": len(rows), "planted": int(bad.sum()), "dropped": int(dropped.sum()), "hits": hits,
            "precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall),
            "auc": auc(np.array([row["similarity"] for row in rows]), bad),
            "planted_left": (int(bad.sum()) - hits) / int((~dropped).sum()),
        }  # fmt: skip


def planted(rows, rng):
    """The rows with the captions of some of them shuffled, so that each of those has the caption of another photo."""
    chosen = rng.sample(range(len(rows)), round(NOISE * len(rows)))
    giver = chosen.copy()
    rng.shuffle(giver)
    while own := [at for at in range(len(chosen)) if rows[chosen[at]][0] == rows[giver[at]][0]]:
        for at in own:
            other = rng.randrange(len(chosen))
            giver[at], giver[other] = giver[other], giver[at]
    changed = dict(zip(chosen, giver, strict=True))
    return [
        (name, rows[changed[at]][1], split, origin, "yes") if at in changed else (name, caption, split, origin, "no")
        for at, (name, caption, split, origin, _) in enumerate(rows)
    ]


def settings(out, seed, web):
    """What the shipped recipe has to be told: where its lists are, its seed, and that its web is on this machine."""
    fetch = [f"{table}.{setting}" for table in ("seed", "pool") for setting in local_web_settings(web)]
    paths = [f"{table}.source.path={out / table}.tsv" for table in ("seed", "pool")]
    return [f"folder={out}", *paths, *fetch, f"network.seed={seed}", f"train.seed={seed}"]


def with_rule(recipe, name, keep):
    dumped = recipe.model_dump(mode="json")
    dumped["verdict"]["rules"].append({"name": name, "keep": keep})
    return check(type(recipe), dumped, where=name)


def verdicts(dataset):
    """Every fetched row: what its list says of it, its similarity and its verdict."""
    store = Store(dataset)
    for part, commit in read_commits(store, "judge").items():
        raw = pq.read_table(store.path(f"raw/{part}.parquet"), columns=["key", "split", "meta"]).to_pylist()
        verdict = pq.read_table(store.path(commit.file(".parquet"))).to_pylist()
        scored = f"scores/{NETWORK}/{part}.parquet"
        score = pq.read_table(store.path(scored)).to_pylist() if store.exists(scored) else [{}] * len(raw)
        for row, judged, similar in zip(raw, verdict, score, strict=True):
            assert row["key"] == judged["key"] == similar.get("key", row["key"])
            said = json.loads(row["meta"])
            yield {**judged, "split": row["split"], **said, "similarity": similar.get("similarity")}


def auc(scores, bad):
    """The probability that a bad pair scores below a good one; ties count half."""
    good, poor = np.sort(scores[~bad]), scores[bad]
    above = len(good) - np.searchsorted(good, poor, "right")
    equal = np.searchsorted(good, poor, "right") - np.searchsorted(good, poor, "left")
    return float((above + equal / 2).sum() / (len(good) * len(poor)))


def retrieval(recalls):
    return {name: recalls[name] for name in MEASURES} | {"chance_r10": recalls["text_to_image_r10_chance"]}


def summary(seeds):
    """Mean and standard deviation of every figure over the seeds; of each arm less the unfiltered one also Student's t.

    `r10` is the mean of R@10 both ways. With three seeds a t beyond 4.3 is what chance gives in one of twenty.
    """
    found = {}
    for arm in seeds[0]:
        for measure in with_r10(seeds[0][arm]):
            values = [with_r10(one[arm])[measure] for one in seeds]
            found[f"{arm}.{measure}"] = spread(values)
            if measure in (*MEASURES, "r10") and arm != "unfiltered" and "unfiltered" in seeds[0]:
                unfiltered = [with_r10(one["unfiltered"])[measure] for one in seeds]
                differences = [value - other for value, other in zip(values, unfiltered, strict=True)]
                mean, deviation = spread(differences)
                t = mean / (deviation / len(seeds) ** 0.5) if deviation else None
                found[f"{arm}-unfiltered.{measure}"] = [mean, deviation, t and round(t, 2)]
    return found


def with_r10(figures):
    if "text_to_image_r10" not in figures:
        return figures
    return figures | {"r10": (figures["image_to_text_r10"] + figures["text_to_image_r10"]) / 2}


def spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return [float(f"{statistics.mean(values):.5g}"), float(f"{deviation:.3g}")]


def say(words):
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
