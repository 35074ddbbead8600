"""Spherical k-means whose result does not depend on the order of rows, on how they are cut, or on the machine's BLAS.

Vectors of unit length are rounded to multiples of 2^-11. A product of two is then a multiple of 2^-22, and by
Cauchy-Schwarz no part of a sum of such products exceeds one by more than rounding: every sum is a whole number that
float32 holds exactly, in whatever order it is added up. Sums of vectors are whole numbers in float64. So the nearest
centroid of a row, and the mean of a cluster, are the same bits everywhere. What rounding moves a cosine by is about
2^-12; it decides on which side of a border a row falls, and no similarity that is kept (`exact_cosines`).
"""

from __future__ import annotations

import numpy as np

GRID = 2.0**11
_BLOCK_ROWS = 8192


def on_grid(vectors: np.ndarray) -> np.ndarray:
    """Unit rows as float32 multiples of 2^-11."""
    return (np.rint(vectors.astype(np.float32) * np.float32(GRID)) / np.float32(GRID)).astype(np.float32)


def nearest_centroid(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest centroid of each row, the first of equally near ones, and its cosine. Both on the grid."""
    best = np.zeros(len(vectors), np.int64)
    cosine = np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        found = vectors[start : start + _BLOCK_ROWS] @ centroids.T
        best[start : start + len(found)] = found.argmax(axis=1)
        cosine[start : start + len(found)] = found.max(axis=1)
    return best, cosine


def fit(vectors: np.ndarray, num_clusters: int, rounds: int) -> np.ndarray:
    """Centroids on the grid, float32 [at most `num_clusters`, D], by Lloyd's rounds.

    Args:
        vectors: on the grid, in an order that is a fair draw, such as that of a hash: the first ones are the seeds.
    """
    centroids = _distinct_seeds(vectors, num_clusters)
    for _ in range(rounds):
        best, _cosine = nearest_centroid(vectors, centroids)
        moved = means(vectors, best, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def means(vectors: np.ndarray, cluster: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The mean direction of each cluster, on the grid; a cluster without rows, or without direction, stays."""
    order = np.argsort(cluster, kind="stable")
    used, first = np.unique(cluster[order], return_index=True)
    sums = np.zeros(centroids.shape, np.float64)
    ends = np.append(first[1:], len(order))
    for number, start, end in zip(used.tolist(), first.tolist(), ends.tolist(), strict=True):
        for block in range(start, end, _BLOCK_ROWS):
            rows = order[block : min(block + _BLOCK_ROWS, end)]
            sums[number] += vectors[rows].sum(axis=0, dtype=np.float64)
    length = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
    unit = np.divide(sums, length, out=centroids.astype(np.float64), where=length > 0)
    return on_grid(unit)


def exact_cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of float16 rows of unit length, float64: exact, since these are whole numbers of 2^-48."""
    return left.astype(np.float64) @ right.astype(np.float64).T


def _distinct_seeds(vectors: np.ndarray, num_clusters: int) -> np.ndarray:
    """The first rows that are not repeats of earlier ones."""
    window = min(len(vectors), 4 * num_clusters)
    as_bytes = np.ascontiguousarray(vectors[:window]).view(np.dtype((np.void, vectors.shape[1] * 4)))[:, 0]
    _, first = np.unique(as_bytes, return_index=True)
    return vectors[np.sort(first)[:num_clusters]].copy()
