"""EXIF as JSON: what exifread, called as img2dataset calls it, says of the same bytes; and bounded on hostile ones."""

import io
import json
import logging
import struct

import exifread
import pytest
from PIL import Image

from pipeline.ingest.media.exif import exif_json

DAMAGED = {
    "multiple_exif.jpg", "truncated_exif_dpi.jpg", "invalid-exif.jpg", "hopper_bigtiff.tif", "exif-ifd-offset.jpg",
}  # fmt: skip


def as_img2dataset(body):
    try:
        tags = exifread.process_file(io.BytesIO(body), details=False)
        return json.dumps({name: str(value).strip() for name, value in tags.items() if value is not None})
    except Exception:
        return None


def picture(kind, **options):
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (9, 99, 199)).save(stream, kind, **options)
    return stream.getvalue()


def tagged():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon\n", "Mörk II", 6
    exif[0x8825] = {1: "N", 2: (46.0, 12.0, 3.5)}
    exif[0x8769] = {0x829A: (1, 125), 0x9003: "2024:05:01 10:00:00"}
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_the_tags_of_a_photo(kind):
    body = picture(kind, exif=tagged().tobytes())
    found = json.loads(exif_json(body))
    assert exif_json(body) == as_img2dataset(body)
    assert (found["Image Make"], found["Image Orientation"]) == ("Canon", "Rotated 90 CW")
    assert found["GPS GPSLatitudeRef"] == "N"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_no_tags(kind):
    assert exif_json(picture(kind)) == "{}" == as_img2dataset(picture(kind))


@pytest.mark.parametrize("body", [b"", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8X", b"II*\0", b"MM\0*\0\0"])
def test_pieces_of_files(body):
    assert exif_json(body) in ("{}", None)


def jpeg_with(tiff):
    body = picture("JPEG")
    return body[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + body[2:]


@pytest.mark.parametrize("kind", [2, 7], ids=["long texts", "many values"])
def test_a_small_segment_that_unfolds_to_hundreds_of_megabytes_is_given_up(kind):
    entries = b"".join(struct.pack("<HHII", 0xA000 + i, kind, 60_000 if kind == 2 else 999, 8) for i in range(5000))
    assert exif_json(jpeg_with(b"II*\0" + struct.pack("<IH", 8, 5000) + entries)) is None


def test_real_photos(real_data):
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    with_tags, differing = 0, set()
    for path in sorted((real_data / "messy").rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".png", ".gif"):
            wanted = as_img2dataset(path.read_bytes())
            with_tags += wanted not in ("{}", None)
            if exif_json(path.read_bytes()) != wanted:
                differing.add(path.name)
    assert with_tags > 100
    assert differing <= DAMAGED
