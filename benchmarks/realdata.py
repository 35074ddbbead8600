"""`make realdata`: curate and train on real photos, from a list of links with faults to retrieval figures.

Serves the 3,000 training and 500 validation photos of Flickr8k (found through PAIRMILL_DATA) from a web on this
machine, behind CC3M-style lists with faults mixed in; curates them with the recipe flickr8k-tsv; trains the recipe
flickr8k-clip on two CPU workers; and prints one JSON line with the funnel and recall beside chance.

    .venv/bin/python benchmarks/realdata.py [--out FOLDER] [--on SITE] [--quick]

`--quick` takes 80 photos and 6 steps without Ray, to see that it works.
"""

import argparse
import csv
import json
import os
import random
import sys
import time
from pathlib import Path

from about import about

from cluster.progress import StageProgress
from cluster.quickstart.run import local_web_settings, write_report
from cluster.quickstart.web import LocalWeb, Page
from cluster.quickstart.world import World, plant_faults
from cluster.site import load_site
from cluster.verbs.train import run_training
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import ray_session
from pipeline.recipe import load
from pretrain.recipe import TrainingRecipe

SPLITS = {"train": "train.txt", "validation": "val.txt"}


def main():
    options = arguments()
    data = os.environ.get("PAIRMILL_DATA")
    if not data or not Path(data, "image_text/flickr8k").is_dir():
        sys.exit("PAIRMILL_DATA must name a folder with image_text/flickr8k: captions.txt, train.txt, val.txt, images/")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    site = load_site(options.on)
    worlds = {split: photos(Path(data, "image_text/flickr8k"), split, options.quick) for split in SPLITS}
    pages = {name: page for world in worlds.values() for name, page in world.pages.items()}
    began = time.monotonic()
    with ray_session(site.engine):
        curated, recipe = curate_photos(out, pages, worlds, site)
        curated_s = time.monotonic() - began
        overrides = [f"data.url={recipe.dataset}"]
        if options.quick:
            overrides += ["steps=6", "schedule.warmup_steps=2", "batch_size=32"]
        training = load(TrainingRecipe, "flickr8k-clip", overrides, package="pretrain")
        trained = run_training(training, site, str(out / "run"))
    trained_s = time.monotonic() - began - curated_s
    page = write_report(out, recipe.dataset, trained["run"])
    print_result(curated, worlds, trained, (curated_s, trained_s), page)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for everything that is made")
    parser.add_argument("--on", help="site (local; with --quick: process)")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.on = options.on or ("process" if options.quick else "local")
    options.out = options.out or ("pairmill-realdata-quick" if options.quick else "pairmill-realdata")
    return options


def photos(folder, split, quick):
    """The split's photos as a world: a row per caption, pages that are files, and planted faults."""
    wanted = (folder / SPLITS[split]).read_text().split()[: 40 if quick else None]
    captions = {}
    with (folder / "captions.txt").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            captions.setdefault(row["image"], []).append(" ".join(row["caption"].split()))
    rows = [(caption, f"{split}/{name}") for name in wanted for caption in captions[name]]
    pages = {f"{split}/{name}": Page(folder / "images" / name) for name in wanted}
    rng = random.Random(f"realdata {split}")
    planted = plant_faults(rng, rows, pages, folder=f"{split}-faults/")
    rng.shuffle(rows)
    return World(rows, pages, dict(planted))


def curate_photos(out, pages, worlds, site):
    with LocalWeb.on_kept_port(pages, out / "port") as web:
        for split, world in worlds.items():
            world.write_list(out / f"{split}.tsv", web.url)
        lists = ", ".join(f'{{path = "{out / split}.tsv", split = "{split}"}}' for split in worlds)
        settings = [f"dataset={out / 'dataset'}", f"source.lists=[{lists}]", *local_web_settings(web)]
        recipe = load(DatasetRecipe, "flickr8k-tsv", settings, package="pipeline")
        progress = StageProgress()
        curated = curate(recipe, site.engine, progress=progress)
        progress.close()
    sys.stderr.write("\n".join(curated.funnel.lines()) + "\n")
    return curated, recipe


def print_result(curated, worlds, trained, seconds, page):
    planted = {}
    for world in worlds.values():
        for reason, rows in world.planted.items():
            planted[reason] = planted.get(reason, 0) + rows
    recall = trained["eval"]
    worst = min(recall[f"{side}_r10"] / recall[f"{side}_r10_chance"] for side in ("image_to_text", "text_to_image"))
    sys.stderr.write(f"report: {page}\n")
    line = {
        "what": "Flickr8k photos behind links with faults: curated, trained on CPU workers, retrieval on 500 photos",
        "ratio": worst,
        "eval": recall,
        "funnel": curated.funnel.to_dict(),
        "planted": planted,
        "curated_s": round(seconds[0], 1),
        "trained_s": round(seconds[1], 1),
        **about("pairmill", "torch", "deepspeed", "ray", "transformers"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
