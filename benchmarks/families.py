"""What the tiny recipe of each family learns of drawn scenes: retrieval beside chance, ranked again, and captions.

    .venv/bin/python benchmarks/families.py [--quick] [--out FOLDER] [RECIPE ...]

Draws 3,000 scenes, curates them, and trains the recipes to their ends in one process; a run that was broken off goes
on. `ratio` is the least R@1 over chance, both ways, of all of them. `--quick`: 300 scenes and 4 steps of each, to see
that all work.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from about import about

from cluster.quickstart.run import local_web_settings, serving
from cluster.quickstart.world import draw_world
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.recipe import load
from pretrain.recipe import TrainingRecipe
from pretrain.train import train_func

RECIPES = ("tiny-clip", "tiny-vilt", "tiny-albef", "tiny-flava", "tiny-coca", "tiny-blip")
QUICK = ("steps=4", "schedule.warmup_steps=1", "batch_size=16", "eval.max_samples=16", "eval.rerank=4")
WAYS = ("image_to_text", "text_to_image")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out")
    options = parser.parse_args()
    out = Path(options.out or ("runs/families-quick" if options.quick else "runs/families"))
    out.mkdir(parents=True, exist_ok=True)
    dataset = scenes(out, 300 if options.quick else 3000)
    figures = {name: trained(name, dataset, out, options.quick) for name in options.recipes or RECIPES}
    least = min(figure["ratio"] for figure in figures.values())
    line = {"what": "tiny recipes on drawn scenes, R@1 over chance", "ratio": least, "quick": options.quick}
    print(json.dumps(line | {"figures": figures, **about("torch", "deepspeed", "transformers")}))


def scenes(out, number):
    world = draw_world(number, 0)
    with serving(world, out) as web:
        settings = [f"dataset={out / 'dataset'}", f"source.path={out / 'list.tsv'}", *local_web_settings(web)]
        recipe = load(DatasetRecipe, "quickstart", settings, package="pipeline")
        curate(recipe, EngineConfig(place="process", workers=2))
    return recipe.dataset


def trained(name, dataset, out, quick):
    recipe = load(TrainingRecipe, name, [f"data.url={dataset}", *(QUICK if quick else ())], package="pretrain")
    began = time.monotonic()
    found = train_func({"recipe": recipe.model_dump(mode="json"), "run": str(out / name)})["eval"]
    kept = [name for name in found if name.endswith(("_r1", "_r10", "bleu4", "cider", "cider_shuffled"))]
    figure = {name: round(found[name], 4) for name in kept} | {"images": found["images"], "texts": found["texts"]}
    figure |= {"ratio": round(min(found[f"{way}_r1"] / found[f"{way}_r1_chance"] for way in WAYS), 2)}
    figure |= {"steps": recipe.steps, "seconds": round(time.monotonic() - began)}
    print(json.dumps({name: figure}), file=sys.stderr, flush=True)
    return figure


if __name__ == "__main__":
    main()
