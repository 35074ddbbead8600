"""The event loop of a fetch: uvloop's where it is installed, which takes less CPU per request."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any


def run_in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end in a loop of its own. Raises: what `work` raises."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(work)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:  # there is none for Windows
        return None
    return importlib.import_module("uvloop").new_event_loop
