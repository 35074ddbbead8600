"""Keeps transformers from drawing bars of its own: the driver alone shows progress, and workers draw nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Without the bars that transformers draws when it reads or writes weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
