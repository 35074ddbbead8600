"""Every error pairmill raises on purpose, as one tree.

    PairmillError
    +-- AskedWrongly          exit 2: nothing was started; the request has to change
    |   +-- RecipeError       a recipe or an override is wrong
    |   +-- SourceError       a list cannot be read, or lacks a column
    |   +-- MissingExtra      a part of the installation is missing
    +-- RunFailed             exit 1: the work was started and could not be finished
        +-- StoreError        a store refused, or lost, a read or a write
        +-- DatasetError      a dataset folder contradicts itself
        +-- StageError        a stage failed on a partition
        +-- TrainingError     a training run stopped

A message has four parts: where, what was found, what was wanted, what to do.
Bad data is never an exception: it is a `status` on a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PairmillError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class AskedWrongly(PairmillError):
    """The request cannot be carried out as asked; no work was started."""

    exit_code = 2


class RecipeError(AskedWrongly):
    """A recipe, an override or a site is wrong."""


class SourceError(AskedWrongly):
    """A list cannot be read, or does not have what the recipe names."""


class MissingExtra(AskedWrongly):
    """A package that this request needs is not installed."""


class RunFailed(PairmillError):
    """Work was started and could not be finished; running again resumes it."""


class StoreError(RunFailed):
    """A store refused or lost a read or a write."""


class DatasetError(RunFailed):
    """A dataset folder contradicts itself: a missing, altered or foreign part."""


class StageError(RunFailed):
    """A stage failed on a partition."""


class TrainingError(RunFailed):
    """A training run stopped before its end."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence naming the choice closest to `word`, or all choices where none is close."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"It may be one of: {', '.join(known)}." if known else ""
