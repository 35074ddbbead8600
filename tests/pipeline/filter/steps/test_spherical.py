"""Spherical k-means: sums are exact, so neither order, blocks nor the number of rows at once change a bit."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filter.steps.spherical import exact_cosines, fit, means, nearest_centroid, on_grid


def unit_rows(seed, rows, width, num_centres=None):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, width))
    if num_centres is not None:
        vectors = rng.standard_normal((num_centres, width))[rng.integers(num_centres, size=rows)] + 0.3 * vectors
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exactly(left, right):
    return [[sum(Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)) for y in right] for x in left]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 3, 64, 300]))
def test_cosines_are_exact(seed, width):
    vectors = unit_rows(seed, 4, width)
    half, grid = vectors.astype(np.float16), on_grid(vectors)
    assert exact_cosines(half, half).tolist() == exactly(half.tolist(), half.tolist())
    assert (grid @ grid.T).tolist() == exactly(grid.tolist(), grid.tolist())


def test_blocks_and_order_change_nothing():
    vectors = on_grid(unit_rows(0, 20_000, 48, 10))
    centroids = fit(vectors[:2000], 20, 5)
    best, cosine = nearest_centroid(vectors, centroids)
    for rows in (np.arange(7), np.random.default_rng(1).permutation(len(vectors))):
        found, near = nearest_centroid(vectors[rows], centroids)
        np.testing.assert_array_equal(found, best[rows])
        np.testing.assert_array_equal(near, cosine[rows])
    backwards = means(vectors[::-1], best[::-1], centroids)
    np.testing.assert_array_equal(backwards, means(vectors, best, centroids))


def test_finds_the_centres_that_are_there():
    vectors = unit_rows(3, 3000, 32, 8)
    centroids = fit(on_grid(vectors), 24, 20)
    best, cosine = nearest_centroid(on_grid(vectors), centroids)
    assert cosine.mean() > 0.8
    plain = vectors @ centroids.astype(np.float64).T  # the same in float64, nothing rounded
    near_tie = np.sort(plain, axis=1)[:, -1] - np.sort(plain, axis=1)[:, -2] < 1e-3
    np.testing.assert_array_equal(plain.argmax(1)[~near_tie], best[~near_tie])


def test_rounds_do_not_make_it_worse():
    vectors = on_grid(unit_rows(4, 2000, 16))
    quality = [
        nearest_centroid(vectors, fit(vectors, 10, rounds))[1].mean() for rows, rounds in ((0, 1), (0, 5), (0, 30))
    ]
    assert quality == sorted(quality)


def test_fewer_rows_than_clusters_and_no_direction():
    vectors = on_grid(np.array([[1.0, 0], [1, 0], [-1, 0]]))
    assert len(fit(vectors, 10, 3)) == 2
    opposite = means(vectors[1:], np.zeros(2, np.int64), vectors[:1])
    np.testing.assert_array_equal(opposite, vectors[:1])
