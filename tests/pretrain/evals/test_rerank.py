import numpy as np

from pretrain.evals.rerank import best


def test_the_best_of_every_query_are_taken_the_first_of_equals():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (9, 13)).astype(np.float32)
    for k in (1, 3, 13, 20):
        chosen = best(scores, k)
        for row, picked in zip(scores, chosen, strict=True):
            wanted = sorted(range(13), key=lambda column: (-row[column], column))[:k]
            assert sorted(np.flatnonzero(picked)) == sorted(wanted)
