"""Polygons as run-length masks, against the even-odd rule by hand and the areas that COCO states."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.sources.polygons import polygons_rle


def decoded(rle):
    height, width = rle["size"]
    assert sum(rle["counts"]) == height * width
    assert all(run > 0 for run in rle["counts"][1:])
    inside = np.repeat(np.arange(len(rle["counts"])) % 2, rle["counts"]).astype(bool)
    return inside.reshape(width, height).T


def by_hand(polygon, height, width):
    """(inside, on an edge) of each pixel's centre, by the edges that a ray up from it crosses."""
    corners = list(zip(polygon[::2], polygon[1::2], strict=True))
    mask, edge = np.zeros((2, height, width), bool)
    for row, column in np.ndindex(height, width):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (x0 < x) != (x1 < x):
                crossed = y0 + (x - x0) * (y1 - y0) / (x1 - x0)
                mask[row, column] ^= crossed <= y
                edge[row, column] |= abs(crossed - y) < 1e-9
    return mask, edge


SIDE = st.floats(-3, 11, allow_nan=False).map(lambda value: round(value, 2) + 0.003)  # no corner on a pixel's centre


@settings(deadline=None)
@given(st.lists(st.lists(SIDE, min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0), min_size=1, max_size=3))
def test_a_pixel_belongs_where_its_centre_does(polygons):
    masks, edges = zip(*(by_hand(polygon, 7, 9) for polygon in polygons), strict=True)
    differ = decoded(polygons_rle(polygons, 7, 9)) != np.logical_or.reduce(masks)
    assert not (differ & ~np.logical_or.reduce(edges)).any()


@pytest.mark.parametrize(
    ("polygon", "counts"),
    [
        ([1, 1, 3, 1, 3, 3, 1, 3], [5, 2, 2, 2, 5]),
        ([0, 0, 4, 0, 4, 4, 0, 4], [0, 16]),
        ([2, 0, 4, 0, 4, 4, 2, 4], [8, 8]),
        ([1, 0, 2, 0, 2, 4, 1, 4], [4, 4, 8]),
        ([9, 9, 12, 9, 12, 12], [16]),
        ([1, 1, 1, 3, 1, 1], [16]),
    ],
)
def test_runs_go_down_the_columns(polygon, counts):
    assert polygons_rle([polygon], 4, 4) == {"size": [4, 4], "counts": counts}


@pytest.mark.parametrize(
    ("polygons", "height", "width", "words"),
    [
        ([[1, 2, 3, 4]], 4, 4, "4 finite numbers"), ([[1, 2, 3, 4, 5, 6, 7]], 4, 4, "7 finite"),
        ([], 4, 4, "no polygon"),
        ([["a"] * 6], 4, 4, "no list of numbers"), ([[float("nan")] * 6], 4, 4, "finite"), ([[0.0] * 6], 0, 4, "4 x 0"),
        ([[0.0] * 6], None, 4, "4 x None"), ([[0.0] * 6], 1 << 20, 1 << 20, "an image of"), ([None], 4, 4, "numbers"),
    ],
)
def test_what_is_no_polygon_is_refused(polygons, height, width, words):
    with pytest.raises(ValueError, match=words):
        polygons_rle(polygons, height, width)


def test_the_areas_that_coco_states(real_data):
    data = json.loads((real_data / "image_text/coco/annotations/instances_val2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    errors = []
    for note in data["annotations"]:
        if isinstance(note["segmentation"], list) and note["area"] > 400:
            mask = decoded(polygons_rle(note["segmentation"], *sizes[note["image_id"]]))
            errors.append(mask.sum() / note["area"] - 1)
    assert len(errors) > 200
    assert max(map(abs, errors)) < 0.03
    assert abs(np.mean(errors)) < 0.001
