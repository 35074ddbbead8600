"""quickstart: draw a world, serve it, curate it, pretrain on it, export, report. Every step is the real one."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.progress import StageProgress
from cluster.quickstart.web import LocalWeb
from cluster.quickstart.world import World, draw_world
from cluster.site import load_site
from cluster.verbs.train import run_training
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import ray_session
from pipeline.recipe import load
from pretrain.recipe import TrainingRecipe

SEED = 0


def quickstart(options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole mill in `options.out`; run again, it does only what is missing."""
    out, began = Path(options.out), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    site = load_site(options.on)
    _say(f"1/5 drawing a world of {options.scenes} scenes, a list of links to it, and the faults of real lists")
    world = draw_world(options.scenes, SEED)
    with ray_session(site.engine):
        _say("2/5 serving it on this machine, and curating it: fetch, filter, shard")
        with serving(world, out) as web:
            recipe = load(DatasetRecipe, "quickstart", _dataset_settings(out, web), package="pipeline")
            progress = StageProgress()
            curated = curate(recipe, site.engine, progress=progress)
            progress.close()
        _say("\n".join(curated.funnel.lines()))
        _say("3/5 pretraining a small dual encoder, evaluating on the held-out split, exporting")
        settings = [f"data.url={recipe.dataset}"]
        if options.steps is not None:
            settings += [f"steps={options.steps}", f"schedule.warmup_steps={min(20, options.steps // 4)}"]
        trained = run_training(load(TrainingRecipe, "tiny-clip", settings, package="pretrain"), site, str(out / "run"))
    _say("4/5 opening the exported folder with transformers alone")
    match = describe_one(Path(trained["export"]), recipe.dataset)
    _say("5/5 writing the report")
    page = write_report(out, recipe.dataset, trained["run"])
    _end(out, recipe.dataset, trained, match, page, time.monotonic() - began)
    return {
        "funnel": curated.funnel.to_dict(), "planted": dict(world.planted), "eval": trained["eval"],
        "dataset": recipe.dataset, "run": trained["run"], "export": trained["export"], "report": str(page),
    }  # fmt: skip


@contextmanager
def serving(world: World, out: Path) -> Iterator[LocalWeb]:
    """The world's web, with its list written; on the port of the last run, so that URLs stay."""
    with LocalWeb.on_kept_port(world.pages, out / "port") as web:
        world.write_list(out / "list.tsv", web.url)
        yield web


def local_web_settings(web: LocalWeb) -> list[str]:
    """What a recipe must say to fetch from a web on this machine, which the guards refuse by default."""
    port = web.url.rsplit(":", 1)[1]
    return [
        f"fetch.ports=[{port}]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.per_host=32", "fetch.timeout_s=2.0",
        "fetch.retries=1", "fetch.backoff_s=0.1",
    ]  # fmt: skip


def describe_one(export: Path, dataset: str) -> tuple[str, str]:
    """The caption of one held-out picture, and the caption that the exported model finds for it among 32."""
    import torch
    from PIL import Image
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel
    from transformers.utils import logging as transformers_logging

    from pipeline.shard.reader import ShardReader

    reader = ShardReader(dataset, "validation")
    examples = reader.read(range(min(32, reader.num_samples)))
    transformers_logging.disable_progress_bar()
    model = CLIPModel.from_pretrained(export)
    tokenizer, processor = AutoTokenizer.from_pretrained(export), CLIPImageProcessorPil.from_pretrained(export)
    texts = [example.texts[0] for example in examples]
    with Image.open(io.BytesIO(examples[0].media)) as image, torch.inference_mode():
        inputs = dict(tokenizer(texts, padding=True, truncation=True, return_tensors="pt")) | dict(
            processor(image.convert("RGB"), return_tensors="pt")
        )
        best = int(model(**inputs).logits_per_image[0].argmax())
    return texts[0], texts[best]


def write_report(out: Path, dataset: str, run: str) -> Path:
    """Write the page beside what it speaks of."""
    from cluster.report.page import build_page

    page = out / "report.html"
    page.write_text(build_page(dataset, run), encoding="utf-8")
    return page


def _dataset_settings(out: Path, web: LocalWeb) -> list[str]:
    return [f"dataset={out / 'dataset'}", f"source.path={out / 'list.tsv'}", *local_web_settings(web)]


def _end(
    out: Path, dataset: str, trained: dict[str, Any], match: tuple[str, str], page: Path, seconds: float
) -> None:
    where = os.path.relpath(out)
    _say(
        f"""
done in {seconds:.0f} s

  picture    {match[0]}
  model says {match[1]}

  dataset    {dataset}          shards/, readable by webdataset, wids and OpenCLIP
  run        {os.path.relpath(trained["run"])}              metrics.jsonl, tensorboard/, checkpoints/
  model      {os.path.relpath(trained["export"])}       CLIPModel.from_pretrained(...) opens it
  report     {page}      open it in a browser

what to type next
  .venv/bin/pairmill show                                    the recipes and sites that ship
  .venv/bin/pairmill verify {dataset}        prove every byte of the dataset
  .venv/bin/pairmill quickstart --out {where}        again: only what is missing is done
  .venv/bin/pairmill curate cc3m --dry-run --set source.path=YOUR.tsv --set dataset=YOUR/FOLDER"""
    )


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
