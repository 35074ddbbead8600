"""merge, unpack: from finished shards to others, without the stages that made them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.progress import StageProgress
from cluster.site import load_site
from pipeline.engine import Engine, ray_session
from pipeline.forget.carry_out import finish_forgets
from pipeline.shard.layouts.stage import unpack as unpack_shards
from pipeline.shard.manifest import Manifest
from pipeline.shard.merge import merge as merge_datasets
from pipeline.store import Store


def merge(options: argparse.Namespace) -> dict[str, Any]:
    """Bring the shards of several datasets into one."""
    name = options.name or options.out.rstrip("/").rsplit("/", 1)[-1]
    with _engine(options) as engine:
        finish_forgets(engine)
        manifest = merge_datasets(engine, options.datasets, name, duplicates=options.duplicates, by=options.by)
    return _told(options.out, manifest, f"next: pairmill verify {options.out}")


def unpack(options: argparse.Namespace) -> dict[str, Any]:
    """Write the shards of a dataset in another layout."""
    with _engine(options) as engine:
        manifest = unpack_shards(engine, Store(options.dataset), options.layout)
    return _told(options.out, manifest, "")


@contextmanager
def _engine(options: argparse.Namespace) -> Iterator[Engine]:
    """An engine of the folder `--out` on the site `--on`."""
    site, progress = load_site(options.on), StageProgress()
    try:
        with ray_session(site.engine):
            engine = Engine(Store(options.out), site.engine, progress)
            engine.clean()
            yield engine
    finally:
        progress.close()


def _told(out: str, manifest: Manifest, following: str) -> dict[str, Any]:
    splits = {name: split.samples for name, split in manifest.splits.items()}
    words = sys.stderr
    words.write("".join(f"split {name:<16}{samples:>12,}\n" for name, samples in splits.items()))
    words.write(f"wrote {out if '://' in out else os.path.abspath(out)}\n")
    if following:
        words.write(f"{following}\n")
    return {"dataset": out, "splits": splits}
