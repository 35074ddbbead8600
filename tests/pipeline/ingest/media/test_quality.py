"""What is stored is as good as what img2dataset stores: PSNR against the whole image under a Lanczos filter."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.ingest.media.geometry import plan_geometry
from pipeline.ingest.media.image import ImageConfig, Media, treat_image
from pipeline.ingest.media.jpeg import least_scale, read_header

MOST_LOSS_DB = 0.3
CONFIG = ImageConfig()


def decoded(body):
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


def psnr_db(left, right):
    return 10 * np.log10(255**2 / np.mean((left.astype(float) - right.astype(float)) ** 2))


def as_img2dataset(body, size):
    """Its resizer's calls: whole image, areas averaged, quality 95."""
    pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]


def gain_db(body, config=CONFIG):
    """Decibels by which our stored image is closer than img2dataset's to Pillow's Lanczos of the whole image."""
    media = treat_image(body, config)
    assert isinstance(media, Media), media
    size = (media.width, media.height)
    wanted = np.asarray(Image.fromarray(decoded(body)).resize(size, Image.Resampling.LANCZOS))
    ours, theirs = decoded(media.data), decoded(as_img2dataset(body, size).tobytes())
    return psnr_db(ours, wanted) - psnr_db(theirs, wanted)


def drawn(seed, width, height):
    """A scene as a camera gives it: noise whose amplitude falls with its frequency, things with edges, grain."""
    random = np.random.default_rng(seed)
    pixels = np.full((480, 640, 3), 128, np.float32)
    for octave in range(1, 8):
        grid = random.normal(0, 1, (3 << octave, 4 << octave, 3)).astype(np.float32)
        pixels += cv2.resize(grid, (640, 480), interpolation=cv2.INTER_CUBIC) * 90 / 1.7**octave
    for _ in range(8):
        corners = random.integers((0, 0), (640, 480), (5, 2)).astype(np.int32)
        cv2.fillPoly(pixels, [corners], [float(item) for item in random.integers(0, 255, 3)], lineType=cv2.LINE_AA)
    return with_grain(pixels.clip(0, 255), (width, height), random)


def with_grain(pixels, size, random):
    large = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return (large + random.normal(0, 2, (size[1], size[0], 1))).clip(0, 255).astype(np.uint8)


def mean_gain_db(images, encode, size_px=256):
    return np.mean([gain_db(encode(image, quality=90), ImageConfig(size_px=size_px)) for image in images])


@pytest.mark.parametrize(
    "size", [(300, 280), (500, 375), (640, 480), (800, 533), (1024, 768), (1280, 960), (1600, 1067), (2048, 1536)]
)
def test_no_worse_than_img2dataset(draw, size):
    assert mean_gain_db([drawn(seed, *size) for seed in range(3)], draw.encoded) > -MOST_LOSS_DB


@pytest.mark.parametrize("size", [(640, 480), (1024, 768), (1600, 1067), (2048, 1536), (3072, 2304)])
def test_photos_no_worse_than_img2dataset(draw, photos, size):
    random = np.random.default_rng(0)
    images = [with_grain(photo, size, random) for photo in photos[:6]]
    assert mean_gain_db(images, draw.encoded) > -MOST_LOSS_DB


@pytest.mark.parametrize("size_px", [200, 160, 128, 100, 60])
def test_photos_sharp_in_each_pixel_are_no_worse(draw, photos, size_px):
    """As COCO has them, reduced from larger ones: on the mean; single images lose up to 1.6 dB."""
    assert mean_gain_db(photos, draw.encoded, size_px) > -MOST_LOSS_DB


def test_dense_images_keep_more_pixels(draw):
    random = np.random.default_rng(0)
    smooth, noise = draw.photo(0, 1024, 768), random.integers(0, 255, (768, 1024, 3), np.uint8)
    assert [least_scale(read_header(draw.encoded(image)), 341, 256) for image in (smooth, noise)] == [4, 8]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 200), st.sampled_from(["keep_ratio", "border"]))
def test_every_size_ends_in_the_planned_one(width, height, size_px, mode):
    """Whatever halves, eighths and odd rows are on the way; and a grey image stays as grey as it was."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(out, "JPEG")
    media = treat_image(out.getvalue(), ImageConfig(size_px=size_px, resize=mode))
    wanted = plan_geometry(width, height, mode, size_px, True)
    pixels = decoded(media.data)
    assert pixels.shape[:2] == (wanted.out_height, wanted.out_width)
    assert mode == "border" or np.abs(pixels.astype(int) - 90).max() <= 2


def test_nothing_is_stretched(draw):
    """A line in the last rows of an odd image, decoded at 4/8 and halved, is stored where it belongs."""
    pixels = np.full((1067, 1600, 3), 200, np.uint8)
    pixels[1000:1020] = 20
    media = treat_image(draw.encoded(pixels), CONFIG)
    dark = 200.0 - decoded(media.data)[:, 192].mean(axis=1)
    centre = (dark * (np.arange(len(dark)) + 0.5)).sum() / dark.sum()
    assert abs(centre - 1010 * 256 / 1067) < 0.05


@pytest.fixture(scope="module")
def photos():
    folder = Path(os.environ.get("PAIRMILL_DATA", "/none"), "image_text/coco/train2017")
    if not folder.is_dir():
        pytest.skip("PAIRMILL_DATA does not name a folder; this test needs real data")
    return [decoded(file.read_bytes()) for file in sorted(folder.glob("*.jpg"))[:12]]
