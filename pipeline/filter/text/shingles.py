"""The shingles of texts: runs of characters or words, as hashes, and how much two texts share of them.

A text is first made plain: lower case, words alone, one space between them, so that casing and punctuation make no two
texts different. Its shingles are all runs of `size` characters or words; a shorter text is one shingle. Two texts are
as similar as the shingles they share over all that either has (Jaccard). Everything runs over arrays of all texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.filter.text.characters import code_points
from pipeline.shuffle import spread

Kind = Literal["characters", "words"]
MAX_CHARS = 10_000
"""Of a longer text, so many characters are compared."""

BATCH_BYTES = 2 << 20
"""Bytes of text to make shingles of in one go; memory is about 150 times as much."""
BATCH_TEXTS = 50_000

_WORD = re.compile(r"\w+")
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Shingles:
    """Hashes of shingles, text after text, each once per text and ascending; `starts` are the texts' first places.

    Every text has at least one.
    """

    hashes: np.ndarray
    starts: np.ndarray

    def sizes(self) -> np.ndarray:
        """How many shingles each text has."""
        return np.diff(np.append(self.starts, len(self.hashes)))


def plain(text: str) -> str:
    """What is compared of a text; empty where it has no word."""
    return " ".join(_WORD.findall(text[:MAX_CHARS].lower()))


def shingles(texts: Sequence[str], kind: Kind, size: int) -> Shingles:
    """The shingles of plain texts, none of them empty."""
    codes, starts = _characters(texts, size) if kind == "characters" else _words(texts, size)
    sizes = np.diff(np.append(starts, len(codes)))
    hashes = np.zeros(len(codes), np.uint64)
    for i in range(size):
        ahead = codes[i:]
        hashes[: len(ahead)] = spread(hashes[: len(ahead)] * np.uint64(31) + ahead + _STEP)
    owner = np.repeat(np.arange(len(texts)), sizes)
    # a run that would reach into the next text is none
    whole = np.arange(len(codes)) - np.repeat(starts, sizes) <= np.repeat(sizes, sizes) - size
    hashes, owner = hashes[whole], owner[whole]
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
    hashes, owner = hashes[new], owner[new]
    return Shingles(hashes, np.searchsorted(owner, np.arange(len(texts))))


def similarities(left: Shingles, right: Shingles) -> np.ndarray:
    """Jaccard of the first text of `left` and the first of `right`, of the second of both, and so on."""
    pairs = np.arange(len(left.starts))
    owner = np.concatenate([np.repeat(pairs, left.sizes()), np.repeat(pairs, right.sizes())])
    hashes = np.concatenate([left.hashes, right.hashes])
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    again = (hashes[1:] == hashes[:-1]) & (owner[1:] == owner[:-1])
    shared = np.bincount(owner[1:][again], minlength=len(pairs))
    return shared / (left.sizes() + right.sizes() - shared)


def _characters(texts: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    padded = [text.ljust(size, "\0") for text in texts]
    sizes = np.fromiter(map(len, padded), np.int64, len(padded))
    return code_points("".join(padded)).astype(np.uint64), np.cumsum(sizes) - sizes


def _words(texts: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """One code per word: a sum over its characters, each hashed with its place in the word."""
    padded = [text + " \0" * (size - 1 - text.count(" ")) for text in texts]
    counts = np.fromiter((text.count(" ") + 1 for text in padded), np.int64, len(padded))
    points = code_points(" ".join(padded)).astype(np.uint64)
    begins = np.append(0, np.flatnonzero(points == ord(" ")) + 1)[: int(counts.sum())]
    sizes = np.diff(np.append(begins, len(points)))
    places = np.arange(len(points)) - np.repeat(begins, sizes)
    values = spread(points | (places.astype(np.uint64) << np.uint64(32)))
    values[points == ord(" ")] = 0  # the space after a word is no part of it
    return np.add.reduceat(values, begins) if len(points) else values, np.cumsum(counts) - counts
