"""Samples: the same rows however they are spread over parts; thumbnails of nothing but sane pictures that we store."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cluster.report.part import PartView
from cluster.report.sample import KEPT_SHOWN, KEPT_WORD, SHOWN_PER_REASON, SampleSurvey
from cluster.report.thumbnail import THUMB_PX, thumbnail
from pipeline.record import sample_key


def stored(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def surveyed(keys, reasons, num_parts):
    survey = SampleSurvey()
    for number, at in enumerate(np.array_split(np.arange(len(keys)), num_parts)):
        dropped_by = pa.array([reasons[i] for i in at], pa.string())
        tone = np.array([reasons[i] is not None for i in at], np.int8)
        raw = pa.table({"key": pa.array([keys[i] for i in at])})
        survey.add(survey.of(PartView(None, f"{number:05d}", raw, dropped_by, tone)))
    return {reason: [place.key for place in places] for reason, places in survey.places.items()}


def test_the_sample_is_that_of_a_sort_of_all_rows_however_they_are_cut():
    keys = [sample_key("test", str(i)) for i in range(1_000)]
    reasons = [[None, "small", "long", "fetch:timeout"][i % 7 % 4] for i in range(1_000)]
    found = surveyed(keys, reasons, 1)
    for reason, most in ((None, KEPT_SHOWN), ("small", SHOWN_PER_REASON), ("long", SHOWN_PER_REASON)):
        of_reason = [key for key, of_key in zip(keys, reasons, strict=True) if of_key == reason]
        assert found[reason or KEPT_WORD] == sorted(of_reason, key=lambda key: (key[8:24], key))[:most]
    assert "fetch:timeout" not in found
    assert surveyed(keys, reasons, 7) == found
    assert surveyed(keys[::-1], reasons[::-1], 3) == found


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_pictures_become_small_jpegs(form):
    made = thumbnail(stored(Image.new("RGB", (900, 300), "red"), form))
    with Image.open(io.BytesIO(made)) as small:
        assert small.format == "JPEG"
        assert small.size == (THUMB_PX, pytest.approx(THUMB_PX / 3, abs=1))


def test_what_is_transparent_lies_on_white():
    made = thumbnail(stored(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"))
    with Image.open(io.BytesIO(made)) as small:
        assert min(small.getpixel((32, 32))) > 250


@pytest.mark.parametrize("mode", ["L", "P", "LA", "I;16", "1", "CMYK"])
def test_unusual_pixels_are_shown_too(mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert thumbnail(stored(Image.new(mode, (40, 40)), form)) is not None


@pytest.mark.parametrize(
    "media",
    [
        b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(40), b"\xff\xd8\xff" + bytes(40),
        stored(Image.new("RGB", (30, 30)), "GIF"), stored(Image.new("RGB", (30, 30)), "BMP"),
        stored(Image.new("RGB", (300, 300)), "PNG")[:60], stored(Image.new("1", (9_000, 9_000)), "PNG"),
        stored(Image.new("1", (20_000, 20_000)), "PNG"),
    ],
    ids=["nothing", "svg", "gif", "jpeg", "whole gif", "bmp", "torn png", "too large", "bomb"],
)  # fmt: skip
def test_anything_else_gives_no_picture(media):
    assert thumbnail(media) is None
