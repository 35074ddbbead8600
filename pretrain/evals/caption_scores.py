"""BLEU-4 and CIDEr-D of captions against reference texts.

BLEU (Papineni et al. 2002): n-gram precisions of the whole corpus, clipped by the most that one reference has, their
geometric mean times a brevity penalty by the nearest reference length (the shorter of two as near).

CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726, section 5): n-grams weighted by how few images' references have them,
cosines with clipped counts, a penalty for other lengths (sigma 6), mean over n = 1..4 and references, times 10.

Words are runs of letters and digits in lower case; the published tools take the Penn Treebank's, so figures compare
with one another, not with papers to the last digit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_ORDER = 4
_SIGMA = 6.0

Grams = Counter[tuple[str, ...]]


def words_of(text: str) -> list[str]:
    """Words of a text, in lower case, without signs."""
    return re.findall(r"\w+", text.lower())


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a corpus, in [0, 1]; 0 where no 4-gram of it is right."""
    right, said = [0] * _ORDER, [0] * _ORDER
    length = nearest = 0
    for caption, texts in zip(captions, references, strict=True):
        words, others = words_of(caption), [words_of(text) for text in texts]
        length += len(words)
        nearest += min((len(other) for other in others), key=lambda n: (abs(n - len(words)), n))
        for n in range(_ORDER):
            counts, most = _grams(words, n + 1), Counter()
            for other in others:
                most |= _grams(other, n + 1)
            right[n] += (counts & most).total()
            said[n] += counts.total()
    if min(right) == 0:
        return 0.0
    precision = math.exp(sum(math.log(r / s) for r, s in zip(right, said, strict=True)) / _ORDER)
    return precision * min(1.0, math.exp(1 - nearest / length))


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D of a corpus, in [0, 10]; the references of all its images say how rare an n-gram is."""
    documents: Grams = Counter()
    for texts in references:
        documents.update({gram for text in texts for gram in _all_grams(words_of(text))})
    log_images = math.log(max(len(references), 1))
    total = 0.0
    for caption, texts in zip(captions, references, strict=True):
        ours = _vectors(words_of(caption), documents, log_images)
        similar = [_similarity(ours, _vectors(words_of(text), documents, log_images)) for text in texts]
        total += 10 * sum(similar) / len(similar)
    return total / len(captions)


class _Weighted:
    """A text as weighted n-grams of each order."""

    def __init__(self, length: int, weights: list[dict[tuple[str, ...], float]]) -> None:
        self.length, self.weights = length, weights
        self.norms = [math.sqrt(sum(value * value for value in order.values())) for order in weights]


def _vectors(words: list[str], documents: Grams, log_images: float) -> _Weighted:
    orders = [
        {gram: count * (log_images - math.log(max(documents[gram], 1))) for gram, count in _grams(words, n).items()}
        for n in range(1, _ORDER + 1)
    ]
    return _Weighted(len(words), orders)


def _similarity(ours: _Weighted, theirs: _Weighted) -> float:
    penalty = math.exp(-((ours.length - theirs.length) ** 2) / (2 * _SIGMA**2))
    total = 0.0
    for left, right, norm, other in zip(ours.weights, theirs.weights, ours.norms, theirs.norms, strict=True):
        if norm and other:
            product = sum(min(value, right[gram]) * right[gram] for gram, value in left.items() if gram in right)
            total += penalty * product / (norm * other)
    return total / _ORDER


def _grams(words: Sequence[str], n: int) -> Grams:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _all_grams(words: Sequence[str]) -> Grams:
    return sum((_grams(words, n) for n in range(1, _ORDER + 1)), Counter())
