"""Squares of RGB beside the mathematics in floating point, beside Pillow, and beside themselves without vector code."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.jpeg import native

pytestmark = pytest.mark.skipif(not native.is_built(), reason="the JPEG decoder was not compiled: no C compiler")


def scene(width, height, seed=0, least=30, most=225):
    """Soft waves of three colours, and an edge."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * fx + y * fy + phase) for fx, fy, phase in random.uniform(0.02, 0.4, (3, 3))]
    pixels = np.stack(waves, axis=2)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = random.uniform(-1, 1, 3)
    return (least + (pixels + 1) / 2 * (most - least)).astype(np.uint8)


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 95, **options})
    return out.getvalue()


def square(body, size, side, window=None, mirrored=False):
    """The square as HWC, or None."""
    out = np.zeros((1, 3, side, side), np.uint8)
    wanted = native.Squares(np.array([size]), np.array([window or (0, 0, *size)]), np.array([mirrored]))
    return out[0].transpose(1, 2, 0) if native.squares([body], wanted, out)[0] else None


def cubic(inputs, start, extent, length):
    """The matrix of a cubic filter (Keys, a = -1/2) over `extent` of `inputs`, stretched where it shrinks."""
    step = extent / length
    x = np.abs(np.arange(inputs)[None] + 0.5 - start - (np.arange(length)[:, None] + 0.5) * step) / max(step, 1)
    near, far = ((1.5 * x - 2.5) * x * x + 1), (((-0.5 * x + 2.5) * x - 4) * x + 2)
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


def by_hand(planes, size, side, window):
    """Planes of Y, Cb, Cr, each at its own resolution, as RGB, in floating point."""
    left, top, width, height = window
    filtered = []
    for plane in planes:
        thin_x, thin_y = size[0] / plane.shape[1], size[1] / plane.shape[0]
        down = cubic(plane.shape[0], top / thin_y, height / thin_y, side)
        filtered.append(down @ plane @ cubic(plane.shape[1], left / thin_x, width / thin_x, side).T)
    y, cb, cr = filtered[0], filtered[1] - 128, filtered[2] - 128
    rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    return np.stack(rgb, axis=2).clip(0, 255)


@pytest.mark.parametrize("sampling", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize(
    ("size", "side", "window"),
    [((128, 96), 64, (0, 0, 128, 96)), ((128, 96), 50, (13, 7, 90, 80)), ((64, 64), 96, (5, 9, 40, 30))],
)
def test_it_is_the_mathematics(sampling, size, side, window):
    wide, high = size[0] // sampling[0], size[1] // sampling[1]
    planes = [scene(*size)[:, :, 0], scene(wide, high, 1)[:, :, 0], scene(wide, high, 2)[:, :, 0]]
    body = simplejpeg.encode_jpeg_yuv_planes(*(np.ascontiguousarray(plane) for plane in planes), 100)
    found, wanted = square(body, size, side, window).astype(float), by_hand(planes, size, side, window)
    assert np.abs(found - wanted).max() <= 4  # what quality 100 loses, up to two steps of Y and Cb, is in it
    assert np.abs(found - wanted).mean() < 0.6


@pytest.mark.parametrize("size", [(300, 260), (450, 400), (900, 700), (2000, 1500)])
def test_it_comes_close_to_pillow(size):
    """At each scale that images are decoded at."""
    pixels = scene(*size)
    wanted = np.asarray(Image.fromarray(pixels).resize((112, 112), Image.Resampling.BICUBIC))
    found = square(jpeg(pixels, subsampling=0), size, 112)
    assert 10 * np.log10(255**2 / np.mean((found.astype(float) - wanted) ** 2)) > 42


def test_a_window_is_cut_out_of_the_whole():
    body = jpeg(scene(512, 512))
    whole, part = square(body, (512, 512), 256), square(body, (512, 512), 128, (128, 64, 256, 256))
    assert np.abs(part.astype(int) - whole[32:160, 64:192].astype(int)).max() <= 1


shapes = st.tuples(st.integers(1, 150), st.integers(1, 150))


@st.composite
def windows(draw, size):
    left, top = (draw(st.integers(0, side - 1)) for side in size)
    return left, top, draw(st.integers(1, size[0] - left)), draw(st.integers(1, size[1] - top))


@settings(max_examples=150)
@given(st.data(), shapes, st.integers(1, 70), st.sampled_from([0, 1, 2]), st.integers(5, 100), st.integers(0, 99))
def test_vector_code_changes_nothing_and_a_mirror_image_is_exact(data, size, side, sampling, quality, seed):
    window = data.draw(windows(size))
    body = jpeg(scene(*size, seed, 0, 255), subsampling=sampling, quality=quality)
    try:
        native.use_vector_code(False)
        plain = square(body, size, side, window)
    finally:
        native.use_vector_code(True)
    np.testing.assert_array_equal(square(body, size, side, window), plain)
    np.testing.assert_array_equal(square(body, size, side, window, mirrored=True), plain[:, ::-1])


@given(shapes, st.integers(1, 40), st.integers(0, 255))
def test_one_grey_stays_that_grey(size, side, value):
    body = jpeg(np.full((size[1], size[0]), value, np.uint8))
    wanted = simplejpeg.decode_jpeg(body, "GRAY")[0, 0, 0]
    np.testing.assert_array_equal(square(body, size, side), np.full((side, side, 3), wanted))


def test_each_of_many_has_its_place_and_those_for_other_decoders_are_named():
    pixels = [scene(60 + k, 50, k) for k in range(6)]
    bodies = [jpeg(image) for image in pixels]
    bodies[1], bodies[2] = jpeg(pixels[1], progressive=True), bodies[2][:-40]
    bodies[3], bodies[4] = b"", jpeg(pixels[4][:-1])
    sizes = np.array([(60 + k, 50) for k in range(6)])
    out = np.full((6, 3, 20, 20), 7, np.uint8)
    whole = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    filled = native.squares(bodies, native.Squares(sizes, whole, np.zeros(6, bool)), out)
    assert filled.tolist() == [True, False, False, False, False, True]
    for k in (0, 5):
        np.testing.assert_array_equal(out[k].transpose(1, 2, 0), square(bodies[k], tuple(sizes[k]), 20))


@pytest.mark.parametrize(
    "window", [(-1, 0, 10, 10), (0, 0, 33, 10), (0, 0, 0, 10), (30, 0, 3, 10), (2**31 - 1, 0, 2, 2)]
)
def test_windows_lie_inside(window):
    with pytest.raises(ValueError, match="outside of its image"):
        square(jpeg(scene(32, 32)), (32, 32), 5, window)


@settings(max_examples=300)
@given(st.data())
def test_damage_is_no_crash_and_what_is_taken_is_whole(data):
    body = bytearray(jpeg(scene(48, 40, data.draw(st.integers(0, 5))), optimize=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(2, len(body) - 1))] = data.draw(st.integers(0, 255))
    found = square(bytes(body), (48, 40), data.draw(st.integers(1, 60)), data.draw(windows((48, 40))))
    assert (found is not None) <= native.is_whole(bytes(body))
