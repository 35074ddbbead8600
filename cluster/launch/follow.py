"""Follow a training run by the metrics file that it writes, while the launcher waits for its end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POLL_S = 0.5


@contextmanager
def following(metrics: Path, told: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Call `told` with each new record of a metrics.jsonl, on a thread of its own, during the block."""
    stop = threading.Event()
    position = metrics.stat().st_size if metrics.exists() else 0

    def follow() -> None:
        nonlocal position
        while True:
            last = stop.wait(POLL_S)
            position = _read_from(metrics, position, told)
            if last:
                return

    thread = threading.Thread(target=follow, name="follow-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _read_from(metrics: Path, position: int, told: Callable[[dict[str, Any]], None]) -> int:
    """Hand over the whole lines after `position`; returns where the next one begins."""
    if not metrics.exists():
        return 0
    with metrics.open("rb") as stream:
        stream.seek(position)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        told(json.loads(line))
    return position + len(whole)
