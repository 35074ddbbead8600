"""One file per scorer; the table below is where a new one is entered."""

from pipeline.filter.scorers.image import ImageScore
from pipeline.filter.scorers.text import TextScore

SCORERS = {scorer.name: scorer for scorer in (TextScore, ImageScore)}
"""Name of a table under `[score]` -> its scorer. Duplicates are a global step and stand beside: duplicates.py."""
