"""An image that is kept byte for byte, such as a mask: decoded once, only to know that it is whole, and how large.

A mask's numbers are its meaning: nothing here scales, turns or encodes. Any of the formats of `raster.FORMATS` may be
one, with the same limits as an image that is stored smaller.
"""

from __future__ import annotations

from pipeline.ingest.media import raster
from pipeline.ingest.media.image import MAX_SCANS, UNDECODABLE, Media, Refusal, refusal_of
from pipeline.ingest.media.sniff import sniff
from pipeline.record import Status

_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/tiff": "tif",
    "image/avif": "avif",
}


def exact_image(body: bytes, max_pixels: int) -> Media | Refusal:
    """`body` as a medium of the size that its header states; its first frame is decoded. Never raises on what it is."""
    mime = sniff(body)
    if mime not in _EXTENSIONS:
        return Refusal(Status.WRONG_TYPE, f"{mime or 'unknown'}, wanted an image")
    if mime == "image/jpeg" and body.count(b"\xff\xda") > MAX_SCANS:
        return Refusal(Status.DECODE_ERROR, f"more than {MAX_SCANS} scans")
    try:
        image = raster.open_image(body, mime, max_pixels)
        size = image.size
        raster.check_whole(image)
    except UNDECODABLE as error:
        return refusal_of(error)
    return Media(body, mime, _EXTENSIONS[mime], *size, *size, 1)
