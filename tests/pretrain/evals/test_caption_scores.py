"""BLEU and CIDEr-D against their definitions, written out with dense vectors and fractions."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.evals.caption_scores import bleu, cider, words_of

WORDS = ("a", "red", "blue", "disc")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
corpora = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=4)


def count(words, gram):
    return sum(tuple(words[i : i + len(gram)]) == gram for i in range(len(words)))


def bleu_by_definition(corpus):
    precisions = []
    for n in (1, 2, 3, 4):
        right = said = 0
        for caption, references in corpus:
            words = caption.split()
            said += max(len(words) - n + 1, 0)
            for gram in product(WORDS, repeat=n):
                right += min(count(words, gram), max(count(other.split(), gram) for other in references))
        precisions.append(Fraction(right, said) if said else Fraction(0))
    if not all(precisions):
        return 0.0
    ours = sum(len(caption.split()) for caption, _ in corpus)
    theirs = 0
    for caption, references in corpus:
        lengths = sorted(len(other.split()) for other in references)
        theirs += min(lengths, key=lambda n: abs(n - len(caption.split())))
    penalty = 1.0 if ours >= theirs else math.exp(1 - theirs / ours)
    return penalty * math.prod(float(p) for p in precisions) ** 0.25


def cider_by_definition(corpus):
    total = 0.0
    for caption, references in corpus:
        for n in (1, 2, 3, 4):
            grams = list(product(WORDS, repeat=n))
            holding = [sum(any(count(t.split(), g) for t in texts) for _, texts in corpus) for g in grams]
            idf = np.log(len(corpus)) - np.log(np.maximum(holding, 1))
            g = np.array([count(caption.split(), gram) for gram in grams]) * idf
            for other in references:
                r = np.array([count(other.split(), gram) for gram in grams]) * idf
                if np.linalg.norm(g) and np.linalg.norm(r):
                    cosine = np.minimum(g, r) @ r / (np.linalg.norm(g) * np.linalg.norm(r))
                    far = (len(caption.split()) - len(other.split())) ** 2
                    total += 10 * cosine * math.exp(-far / 72) / (4 * len(references))
    return total / len(corpus)


@given(corpora)
def test_scores_are_what_their_papers_define(corpus):
    captions, references = [caption for caption, _ in corpus], [others for _, others in corpus]
    assert bleu(captions, references) == pytest.approx(bleu_by_definition(corpus), rel=1e-9)
    assert cider(captions, references) == pytest.approx(cider_by_definition(corpus), rel=1e-9, abs=1e-12)


def test_a_caption_that_is_a_reference_gets_all_and_one_of_other_words_nothing():
    references = [["a red disc on black", "red disc"], ["a blue square on grey"], ["one green star"]]
    said = ["a blue square on grey" if n == 1 else texts[0] for n, texts in enumerate(references)]
    assert bleu(said, references) == pytest.approx(1.0)
    assert cider(["x y z w", "x y z w v", "u"], references) == 0.0
    assert words_of("A red-ish Disc, on black!") == ["a", "red", "ish", "disc", "on", "black"]
