"""The decoder beside libjpeg-turbo, beside the mathematics in floating point, and beside itself without vector code."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.jpeg import native

pytestmark = pytest.mark.skipif(not native.is_built(), reason="the JPEG decoder was not compiled: no C compiler")

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def scene(width, height, seed=0, least=30, most=225):
    """Waves and edges, away from black and white, where decoders clip."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * fx + y * fy + phase) for fx, fy, phase in random.uniform(0.02, 0.9, (5, 3))]
    pixels = np.stack([sum(waves[k : k + 3]) for k in range(3)], axis=2)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = random.uniform(-2, 2, 3)
    low, high = pixels.min(), pixels.max()
    return (least + (pixels - low) / (high - low + 1e-9) * (most - least)).astype(np.uint8)


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 92, **options})
    return out.getvalue()


def shrunk(body, size, out, part=None, is_grey=False):
    left, top, width, height = part or (0, 0, *size)
    return native.shrink(body, size, native.Window(left, top, width, height, *out), is_grey=is_grey)


def distance(left, right):
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@pytest.mark.parametrize("size", [(64, 64), (65, 33), (17, 9), (8, 8), (1, 1), (250, 3), (3, 250), (321, 239)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}])
def test_at_its_own_size_it_is_libjpegs_image(size, sampling, options):
    body = jpeg(scene(*size), subsampling=SAMPLINGS[sampling], **options)
    planes = shrunk(body, size, size)
    assert distance(planes.luma, simplejpeg.decode_jpeg(body, "GRAY")[:, :, 0]) <= 1
    assert native.is_whole(body)


def test_grey_has_no_colour_planes():
    body = jpeg(scene(90, 70)[:, :, 0])
    planes = shrunk(body, (90, 70), (90, 70), is_grey=True)
    assert planes.blue is None is planes.red
    assert distance(planes.luma, simplejpeg.decode_jpeg(body, "GRAY")[:, :, 0]) <= 1


@pytest.mark.parametrize("size", [(64, 48), (50, 46), (34, 90)])
def test_planes_come_back_as_they_went_in(size):
    """Of even sides, since libjpeg-turbo takes planes in whole pairs; quality 100 loses one or two steps."""
    wide, high = size
    sides = [(wide, high), (wide // 2, high // 2), (wide // 2, high // 2)]
    planes = [np.ascontiguousarray(scene(*side, seed)[:, :, 0]) for seed, side in enumerate(sides)]
    found = shrunk(simplejpeg.encode_jpeg_yuv_planes(*planes, 100), size, size)
    assert max(distance(*pair) for pair in zip((found.luma, found.blue, found.red), planes, strict=True)) <= 2


def lowest_frequencies(plane, n):
    """Each block of 8 x 8 as n x n by an inverse DCT of its n lowest frequencies, in floating point."""

    def basis(points):
        k, x = np.mgrid[0:points, 0:points]
        rows = np.cos((2 * x + 1) * k * np.pi / (2 * points)) * np.sqrt(2 / points)
        rows[0] /= np.sqrt(2)
        return rows

    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % 8), (0, -width % 8)), "edge")
    blocks = padded.reshape(padded.shape[0] // 8, 8, -1, 8).transpose(0, 2, 1, 3)
    frequencies = (basis(8) @ blocks @ basis(8).T)[:, :, :n, :n]
    small = basis(n).T @ frequencies @ basis(n) * (n / 8)
    return small.transpose(0, 2, 1, 3).reshape(padded.shape[0] * n // 8, -1)


def lanczos(inputs, extent, length):
    """The matrix of a Lanczos filter that is stretched by extent / length, over inputs that cover `extent`."""
    step = extent / length
    centers = (np.arange(length)[:, None] + 0.5) * step
    x = (np.arange(inputs)[None] + 0.5 - centers) / max(step, 1)
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("size", "out"), [
    ((512, 384), (51, 38)), ((500, 375), (113, 85)), ((500, 375), (170, 128)), ((500, 375), (227, 170)),
    ((500, 375), (285, 214)), ((500, 375), (341, 256)), ((500, 375), (400, 300)), ((500, 375), (480, 360)),
])  # fmt: skip
def test_it_is_the_mathematics(size, out):
    matches_the_mathematics(jpeg(scene(*size), quality=95), size, out)


@pytest.mark.parametrize("out", [(130, 98), (200, 150), (300, 225), (500, 375)])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 2}])
def test_so_are_large_bodies_whose_high_frequencies_are_leapt_over(out, options):
    size = (1040, 780)
    grain = np.random.default_rng(1).normal(0, 6, (size[1], size[0], 1))
    body = jpeg((scene(*size) + grain).clip(20, 235).astype(np.uint8), quality=95, **options)
    assert len(body) > 1 << 17
    matches_the_mathematics(body, size, out)


def matches_the_mathematics(body, size, out):
    eighths = native.Window(0, 0, *size, *out).eighths()
    grey = simplejpeg.decode_jpeg(body, "GRAY")[:, :, 0].astype(float)
    small = lowest_frequencies(grey, eighths)
    pairs = zip(size, out, strict=True)
    across, down = (lanczos(-(-side * eighths // 8), side * eighths / 8, to) for side, to in pairs)
    wanted = down @ small[: down.shape[1], : across.shape[1]] @ across.T
    assert distance(shrunk(body, size, out).luma, wanted.round().clip(0, 255)) <= 2


def test_each_scale_is_taken_by_some_size():
    taken = [native.Window(0, 0, 500, 375, width, round(width * 0.75)).eighths() for width in range(20, 500)]
    assert sorted(set(taken)) == [1, 2, 3, 4, 5, 6, 7, 8]


shapes = st.tuples(st.integers(1, 200), st.integers(1, 200))


@settings(max_examples=120, deadline=None)
@given(shapes, st.floats(0.02, 1), st.sampled_from([0, 1, 2]), st.integers(5, 100), st.integers(0, 99))
@example((200, 200), 0.99, 0, 100, 3)
def test_vector_code_changes_nothing(size, share, sampling, quality, seed):
    body = jpeg(scene(*size, seed, 0, 255), subsampling=sampling, quality=quality)
    out = tuple(max(1, int(side * share)) for side in size)
    found = []
    try:
        for wanted in (True, False):
            native.use_vector_code(wanted)
            planes = shrunk(body, size, out)
            found.append([plane.tobytes() for plane in (planes.luma, planes.blue, planes.red)])
    finally:
        native.use_vector_code(True)
    assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(shapes, shapes, st.integers(0, 255))
def test_one_grey_stays_that_grey(size, out, value):
    out = tuple(min(pair) for pair in zip(size, out, strict=True))
    body = jpeg(np.full((size[1], size[0], 3), value, np.uint8))
    planes = shrunk(body, size, out)
    wanted = simplejpeg.decode_jpeg(body, "GRAY")[0, 0, 0]
    assert distance(planes.luma, np.array(wanted)) == 0
    assert max(distance(plane, np.array(128)) for plane in (planes.blue, planes.red)) == 0


def test_a_window_is_cut_out_of_the_whole():
    size = (640, 480)
    body = jpeg(scene(*size))
    whole = shrunk(body, size, (320, 240))
    part = shrunk(body, size, (100, 80), part=(120, 64, 200, 160))
    assert distance(part.luma, whole.luma[32:112, 60:160]) <= 1
    assert distance(part.blue, whole.blue[16:56, 30:80]) <= 1


@pytest.mark.parametrize("part", [(-1, 0, 10, 10), (0, 0, 33, 10), (0, 0, 0, 10), (0, 0, float("nan"), 10)])
def test_windows_lie_inside(part):
    with pytest.raises(ValueError, match="outside of the image"):
        shrunk(jpeg(scene(32, 32)), (32, 32), (5, 5), part)


def test_what_others_decode():
    pixels = scene(40, 30)
    bodies = [
        jpeg(pixels, progressive=True),
        simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), colorsubsampling="411"),
        jpeg(pixels, keep_rgb=True),
        cmyk(pixels),
        b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no image at all",
    ]  # fmt: skip
    assert [shrunk(body, (40, 30), (20, 15)) for body in bodies] == [None] * len(bodies)
    assert not any(native.is_whole(body) for body in bodies)


def cmyk(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_cut_off_bodies_are_not_whole(share):
    body = jpeg(scene(100, 80))
    cut = body[: int(len(body) * share)]
    assert not native.is_whole(cut)
    assert not native.is_whole(cut + b"\xff\xd9")
    assert shrunk(cut, (100, 80), (50, 40)) is None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damage_is_never_taken_for_whole_where_libjpeg_misses_data(data):
    options = data.draw(st.sampled_from([{}, {"restart_marker_blocks": 2}, {"optimize": True}, {"subsampling": 0}]))
    body = bytearray(jpeg(scene(48, 40, data.draw(st.integers(0, 5))), **options))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(2, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    body = bytes(body)
    planes = shrunk(body, (48, 40), (data.draw(st.integers(1, 48)), 20))
    assert planes is None or native.is_whole(body)
    assume(native.is_whole(body))
    assert "premature end" not in complaint(body)


def complaint(body):
    """What libjpeg-turbo says of a body."""
    try:
        simplejpeg.decode_jpeg(body, strict=True)
    except ValueError as error:
        return str(error).lower()
    return ""
