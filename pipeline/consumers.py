"""Who read a dataset: each training run leaves a note in its folder, so that a sample's life can be told to its end.

    consumers/<hash of the run's URL>.json    run: where the run folder is

The note only says where to look; what a run consumed is told by its own folder. A dataset that cannot be written to is
read all the same.
"""

from __future__ import annotations

import hashlib
import json
import logging

from pipeline.errors import StoreError
from pipeline.store import Store

log = logging.getLogger(__name__)

FOLDER = "consumers"


def note_consumer(dataset: Store, run_url: str) -> None:
    """Leave a note of a run; one that is there already stays as it is."""
    name = f"{FOLDER}/{hashlib.blake2b(run_url.encode(), digest_size=8).hexdigest()}.json"
    try:
        if not dataset.exists(name):
            dataset.put_bytes(name, (json.dumps({"run": run_url}, indent=1) + "\n").encode())
    except StoreError as error:
        log.warning("dataset=%s cannot note its run, so trace wants --run %s (%s)", dataset.url, run_url, error)


def read_consumers(dataset: Store) -> list[str]:
    """URLs of the runs that left a note, sorted."""
    notes = (json.loads(dataset.read_bytes(f"{FOLDER}/{name}")) for name in dataset.list(FOLDER, ".json"))
    return sorted(note["run"] for note in notes)
