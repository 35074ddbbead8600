"""The perceptual hash beside imagehash's own, and what becomes of media that are no image."""

import io
import os
from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa
import pytest
import scipy.fftpack
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pipeline.filter.scorers.phash import SIDE, PhashScore, PhashScoreConfig, hashes_of, shrunk

MOST_ROUNDING = 4 * 255 * SIDE * SIDE * 2.0**-17
"""Of scipy's coefficients, four times ours: pixels of at most 255, cosines rounded to 2^-17."""


def drawn(seed, size=(120, 90), mode="RGB"):
    """A smooth picture that is like no other."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return (
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1)).convert(mode)
    )


def encoded(image, kind="JPEG", **options):
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def scored(*rows):
    table = pa.table(
        {"medium": [medium for medium, _ in rows], "media": pa.array([body for _, body in rows], pa.binary())}
    )
    return PhashScore(PhashScoreConfig())(table).to_pylist()


def of_imagehash(image):
    return int(str(imagehash.phash(image)), 16)


def bits_apart(left, right):
    return (left ^ right).bit_count()


@given(st.integers(0, 1000), st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_equal_to_imagehash_on_decoded_pixels(seed, size):
    """But where a coefficient is the median itself, as in an image two pixels wide: there imagehash has float noise."""
    image = drawn(seed, size)
    low = scipy.fftpack.dct(scipy.fftpack.dct(shrunk(image), axis=0), axis=1)[:8, :8].reshape(-1)
    is_tied = np.abs(low - np.median(low)) < MOST_ROUNDING
    apart = int(hashes_of(shrunk(image)[None])[0][0]) ^ of_imagehash(image)
    assert [at for at in range(64) if apart >> (63 - at) & 1 and not is_tied[at]] == []
    if min(size) >= 8:
        assert apart == 0


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_by_our_own_decoder_are_within_a_swap_of_bits(mode):
    apart = []
    for seed in range(40):
        body = encoded(drawn(seed, (500, 375), mode), quality=95)
        [row] = scored(("image", body))
        apart.append(bits_apart(row["hash"], of_imagehash(Image.open(io.BytesIO(body)))))
    assert max(apart) <= 2
    assert np.mean(np.array(apart) == 0) > 0.7


def test_photos_are_as_imagehash_has_them():
    folder = os.environ.get("PAIRMILL_DATA")
    if folder is None:
        pytest.skip("PAIRMILL_DATA names no folder of real data")
    photos = sorted((Path(folder) / "image_text/flickr8k/images").glob("*.jpg"))[:100]
    found = scored(*[("image", photo.read_bytes()) for photo in photos])
    apart = [bits_apart(row["hash"], of_imagehash(Image.open(photo))) for row, photo in zip(found, photos, strict=True)]
    assert max(apart) <= 2
    assert np.mean(np.array(apart) == 0) > 0.8


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_formats(kind):
    body = encoded(drawn(1).quantize(64) if kind == "GIF" else drawn(1), kind)
    assert scored(("image", body))[0]["hash"] == of_imagehash(Image.open(io.BytesIO(body)).convert("RGB"))


def test_flat_images_have_no_contrast_and_one_hash():
    rows = scored(*[("image", encoded(Image.new("RGB", (64, 48), color), "PNG")) for color in ("white", "navy")])
    assert [row["contrast"] for row in rows] == [0, 0]
    assert [row["hash"] for row in rows] == [1 << 63, 1 << 63]
    assert int(hashes_of(np.zeros((1, SIDE, SIDE), np.uint8))[0][0]) == 0


def test_what_is_no_image_is_null():
    rows = scored(
        ("video", b"\0\0\0 ftyp"), ("image", b"\xff\xd8 torn"), ("image", b"words"), ("image", encoded(drawn(2)))
    )
    assert [row["hash"] is None for row in rows] == [True, True, True, False]
    assert [row["contrast"] is None for row in rows] == [True, True, True, False]


def test_nothing_in_nothing_out():
    assert scored() == []
