"""Facts about pixels against formulas written out in numpy on the whole decoded image, and planted images."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from pipeline.filter.scorers.pixels import PixelsScore, PixelsScoreConfig

NULLS = dict.fromkeys(PixelsScore.writes.names)


def encoded(image, format="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def score(*bodies, longest_px=256, mediums=None):
    scorer = PixelsScore(PixelsScoreConfig(longest_px=longest_px))
    scorer.setup()
    mediums = mediums or ["image"] * len(bodies)
    return scorer(pa.table({"medium": mediums, "media": pa.array(bodies, pa.binary())})).to_pylist()


def photo(width=240, height=180, seed=0):
    """A drawn scene with shapes of all sizes, edges and gradients."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    image += np.linspace(40, 200, width)[None, :, None]
    for _ in range(40):
        x, y, w, h = rng.integers(0, width), rng.integers(0, height), *rng.integers(3, 60, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    image += rng.normal(0, 4, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def by_hand(image):
    """The definitions of the scorer, term by term, on a Pillow image of the size that is looked at."""
    luma = np.asarray(image.convert("L"), np.float64)
    share = np.array([(luma == value).mean() for value in range(256)])
    share = share[share > 0]
    padded = np.pad(luma, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    rgb = np.asarray(image.convert("RGB").reduce(2), np.float64)
    most, least = rgb.max(axis=2), rgb.min(axis=2)
    return {
        "entropy": -(share * np.log2(share)).sum(),
        "sharpness": laplacian.var(),
        "brightness": luma.mean() / 255,
        "contrast": luma.std() / 255,
        "saturation": np.where(most > 0, (most - least) / np.maximum(most, 1), 0).mean(),
    }


TOLERANCE = {"entropy": 0.05, "sharpness": 0.03, "brightness": 0.005, "contrast": 0.005, "saturation": 0.03}
"""Absolute, but for sharpness, where it is relative."""


def assert_close(found, wanted, times=1):
    for name, value in wanted.items():
        allowed = TOLERANCE[name] * times * (value if name == "sharpness" else 1)
        assert abs(found[name] - value) <= allowed, (name, found[name], value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("seed", range(4))
def test_small_images_are_looked_at_as_they_are(format, seed):
    options = {"JPEG": {"quality": 90}, "WEBP": {"lossless": True}, "PNG": {}}[format]
    body = encoded(photo(seed=seed), format, **options)
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        assert_close(score(body)[0], by_hand(image))


def test_real_photos_brought_down(real_data):
    files = sorted((real_data / "image_text" / "flickr8k" / "images").glob("*.jpg"))[:60]
    bodies = [path.read_bytes() for path in files]
    for body, found in zip(bodies, score(*bodies, longest_px=160), strict=True):
        with Image.open(io.BytesIO(body)) as image:
            scale = 160 / max(image.size)
            small = image.convert("RGB").resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
        assert_close(found, by_hand(small), times=4)


def test_the_decoders_agree(monkeypatch):
    from pipeline.filter import decode

    body = encoded(photo(700, 500), quality=92)
    native = score(body)[0]
    monkeypatch.setattr(decode.native, "is_built", lambda: False)
    assert_close(score(body)[0], {name: native[name] for name in TOLERANCE}, times=8)


def test_the_most_frequent_colour():
    image = Image.new("RGB", (200, 100), (200, 30, 30))
    image.paste((20, 200, 60), (0, 0, 60, 100))
    found = score(encoded(image, "PNG"), encoded(image, quality=90))
    assert [row["top_color_share"] for row in found] == pytest.approx([0.7, 0.7], abs=0.02)


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (10, 200, 90), (127, 128, 127), (255, 0, 0)])
def test_solid_images(color):
    solid = Image.new("RGB", (300, 200), color)
    jpeg = score(encoded(solid), encoded(solid, quality=50), encoded(solid, "PNG"), encoded(solid, "WEBP"))
    assert all(row["is_solid"] and row["entropy"] < 0.1 and row["sharpness"] < 1 for row in jpeg)
    almost = solid.copy()
    almost.paste(tuple(255 - value for value in color), (0, 0, 60, 60))
    assert not score(encoded(almost))[0]["is_solid"] or color == (127, 128, 127)
    assert not score(encoded(photo()))[0]["is_solid"]


def test_a_colour_step_of_equal_luma_is_not_solid():
    image = Image.new("YCbCr", (200, 200), (128, 100, 100))
    image.paste((128, 160, 160), (0, 0, 100, 200))
    found = score(encoded(image))[0]
    assert not found["is_solid"]
    assert found["contrast"] < 0.01


def test_blur_is_seen():
    sharp = photo(480, 360)
    rows = score(*(encoded(sharp.filter(ImageFilter.GaussianBlur(radius)), quality=95) for radius in (0, 1, 2, 4, 8)))
    found = [row["sharpness"] for row in rows]
    assert all(later < earlier * 0.7 for earlier, later in itertools.pairwise(found)), found
    assert found[-1] < found[0] / 50


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_frames(format):
    frames = [photo(60, 40, seed) for seed in range(5)]
    moving = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=80)
    assert [row["num_frames"] for row in score(moving, encoded(frames[0], format), encoded(frames[0]))] == [5, 1, 1]


def test_other_kinds_of_images():
    scene = photo(300, 200)
    grey = score(encoded(scene.convert("L")))[0]
    assert grey["saturation"] == 0
    assert_close(grey, by_hand(scene.convert("L").resize((256, 171), Image.Resampling.LANCZOS)), times=4)
    progressive, cmyk = encoded(scene, progressive=True), encoded(scene.convert("CMYK"))
    baseline = score(encoded(scene))[0]
    for row in score(progressive, cmyk):
        assert row["brightness"] == pytest.approx(baseline["brightness"], abs=0.02)
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert score(encoded(clear, "PNG"))[0]["brightness"] == 1  # transparent is white
    assert score(encoded(Image.new("RGB", (1, 1))))[0]["is_solid"]
    assert score(encoded(photo(1, 300), "PNG"))[0]["num_frames"] == 1


def test_what_cannot_be_decoded_is_null():
    body = encoded(photo())
    bad = [b"", b"\xff\xd8", b"\xff\xd8\xff garbage", b"GIF89a", b"no image", encoded(photo(), "PNG")[:500], b"\0" * 99]
    assert score(*bad) == [NULLS] * len(bad)
    assert score(body, body, mediums=["video", "image"])[0] == NULLS
    assert score() == []


def test_a_bomb_is_null_before_it_is_decoded():
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    assert score(bomb) == [NULLS]
