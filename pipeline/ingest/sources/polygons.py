"""Polygons as COCO run-length masks: a pixel belongs to a polygon when its centre lies inside, by the even-odd rule.

pycocotools draws on a grid five times as fine and then thins it out, which moves an edge by up to half a pixel; the
area is the same to about a percent. Several polygons make one mask together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_MAX_PIXELS = 1 << 28


def polygons_rle(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """The union of `polygons` (each x0, y0, x1, y1, ... in pixels) as {"size": [height, width], "counts": [...]}.

    Counts are runs down the columns, outside first. Raises: ValueError: a polygon or the size is none.
    """
    if not (isinstance(height, int) and isinstance(width, int) and 0 < height * width <= _MAX_PIXELS and height > 0):
        raise ValueError(f"an image of {width} x {height} pixels")
    points = [_points(polygon) for polygon in polygons]
    if not points:
        raise ValueError("no polygon")
    corners = np.concatenate(points)
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, (width, height)).astype(int)
    inside = np.zeros((max(0, right - left), max(0, bottom - top)), bool)  # by column, as the runs go
    if inside.size:
        for polygon in points:
            inside |= _fill(polygon - (left, top), *inside.shape)
    return {"size": [height, width], "counts": _runs(inside, left, top, height, width)}


def _points(polygon: Any) -> np.ndarray:
    """Corners as (N, 2), at least three."""
    try:
        flat = np.asarray(polygon, dtype=float)
    except (ValueError, TypeError):
        raise ValueError("a polygon that is no list of numbers") from None
    if flat.ndim != 1 or flat.size < 6 or flat.size % 2 or not np.abs(flat).max() < 1e9:
        raise ValueError(f"a polygon of {flat.size} finite numbers; wanted three pairs or more")
    return flat.reshape(-1, 2)


def _fill(polygon: np.ndarray, width: int, height: int) -> np.ndarray:
    """(width, height) booleans: where each column's centre line crosses an edge, inside and outside swap."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    swapped = (start[:, 0] > end[:, 0])[:, None]
    (x0, y0), (x1, y1) = np.where(swapped, end, start).T, np.where(swapped, start, end).T
    first, last = (np.clip(np.ceil(x - 0.5), 0, width).astype(int) for x in (x0, x1))
    num_columns = last - first
    edge = np.repeat(np.arange(len(polygon)), num_columns)
    columns = np.arange(edge.size) - np.repeat(np.cumsum(num_columns) - num_columns, num_columns) + first[edge]
    y = y0[edge] + (columns + 0.5 - x0[edge]) * ((y1 - y0)[edge] / (x1 - x0)[edge])
    rows = np.clip(np.ceil(y - 0.5), 0, height).astype(int)
    crossings = np.bincount(columns * (height + 1) + rows, minlength=width * (height + 1))
    toggles = (crossings & 1).astype(bool).reshape(width, height + 1)
    return np.logical_xor.accumulate(toggles[:, :height], axis=1)


def _runs(inside: np.ndarray, left: int, top: int, height: int, width: int) -> list[int]:
    """Lengths of the runs in the whole image, of a mask that lies at (left, top) in it."""
    framed = np.zeros((inside.shape[0], inside.shape[1] + 1), np.int8)
    framed[:, :-1] = inside
    change = np.flatnonzero(np.diff(framed.ravel(), prepend=np.int8(0)))
    column, row = np.divmod(change, framed.shape[1])
    places = (column + left) * height + row + top
    joined = np.flatnonzero(places[1:-1:2] == places[2::2])  # a run that reaches the bottom goes on at the next top
    places = np.delete(places, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    runs = np.diff(places, prepend=0, append=height * width).tolist()
    return runs[:-1] if runs[-1] == 0 else runs
