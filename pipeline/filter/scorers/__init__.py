"""One file per scorer; the table below is where a new one is entered."""

from collections.abc import Callable
from typing import Any

from pipeline.filter.score import Scorer
from pipeline.filter.scorers.image import ImageScore
from pipeline.filter.scorers.language import LanguageScore
from pipeline.filter.scorers.phash import PhashScore
from pipeline.filter.scorers.pixels import PixelsScore
from pipeline.filter.scorers.text import TextScore

SCORERS: dict[str, Callable[..., Scorer]] = {
    scorer.name: scorer for scorer in (TextScore, LanguageScore, ImageScore, PixelsScore, PhashScore)
}
"""Name of a table under `[score]` -> its scorer. Duplicates are a global step and stand beside: duplicates.py."""


def scorers_of(tables: Any) -> dict[str, Scorer]:
    """The scorers that a `[score]` table turns on, by name, each after those whose embeddings it reads."""
    on = {name: getattr(tables, name, None) for name in SCORERS}
    return {name: SCORERS[name](config) for name, config in on.items() if config is not None}


def check_scorers(scorers: dict[str, Scorer]) -> None:
    """Let each scorer refuse what cannot work, before any work starts. Raises: AskedWrongly."""
    for scorer in scorers.values():
        check = getattr(scorer, "check", None)
        if check is not None:
            check()
