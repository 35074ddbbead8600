"""One file per scorer; the table below is where a new one is entered."""

from collections.abc import Callable
from typing import Any

from pipeline.errors import RecipeError
from pipeline.filter.score import Scorer
from pipeline.filter.scorers.centroids import CentroidsScore
from pipeline.filter.scorers.clip import ClipScore
from pipeline.filter.scorers.concepts import ConceptsScore
from pipeline.filter.scorers.image import ImageScore
from pipeline.filter.scorers.language import LanguageScore
from pipeline.filter.scorers.phash import PhashScore
from pipeline.filter.scorers.pixels import PixelsScore
from pipeline.filter.scorers.probe import ProbeScore
from pipeline.filter.scorers.synsets import SynsetsScore
from pipeline.filter.scorers.text import TextScore
from pipeline.filter.scorers.text_in_image import TextInImageScore

SCORERS: dict[str, Callable[..., Scorer]] = {
    scorer.name: scorer
    for scorer in (TextScore, LanguageScore, ConceptsScore, SynsetsScore, ImageScore, PixelsScore, PhashScore)
} | {"clip": ClipScore}
"""Name of a table under `[score]` -> its scorer. Duplicates are a global step and stand beside: steps/duplicates.py."""


TAKEN = ("duplicates", "record", "list", "centroids", "probe", "text_in_image", "models", "key")
"""Other words before the dot of a column."""


def scorers_of(tables: Any) -> dict[str, Scorer]:
    """The scorers that a `[score]` table turns on, by name, each after those whose embeddings it reads."""
    on = {name: getattr(tables, name, None) for name in SCORERS}
    found = {name: SCORERS[name](config) for name, config in on.items() if config is not None}
    for name, config in getattr(tables, "models", {}).items():
        if name in SCORERS or name in TAKEN:
            raise RecipeError(f"score.models.{name}: {name!r} is the name of another table of scores. Give it its own.")
        found[name] = ClipScore(config, name)
    if getattr(tables, "text_in_image", None) is not None:
        encoder = found.get(tables.text_in_image.embeddings or "")
        model = encoder if isinstance(encoder, ClipScore) else None
        found["text_in_image"] = TextInImageScore(tables.text_in_image, model)
    encoders = {name: scorer.checkpoint for name, scorer in found.items() if isinstance(scorer, ClipScore)}
    if getattr(tables, "centroids", None) is not None:
        found["centroids"] = CentroidsScore(tables.centroids, encoders)
    if getattr(tables, "probe", {}):
        found["probe"] = ProbeScore(tables.probe, encoders)
    return found


def check_scorers(scorers: dict[str, Scorer]) -> None:
    """Let each scorer refuse what cannot work, before any work starts. Raises: AskedWrongly."""
    for scorer in scorers.values():
        check = getattr(scorer, "check", None)
        if check is not None:
            check()
