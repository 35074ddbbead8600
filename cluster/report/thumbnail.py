"""Stored media to small pictures inside the page: JPEG, PNG and WebP that we stored, and of sane size, or nothing."""

from __future__ import annotations

import base64
import io
import warnings

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 64_000_000
MAX_BYTES = 64 << 20
"""Larger media are not read for a thumbnail."""
THUMB_PX = 200


def thumbnail(media: bytes) -> bytes | None:
    """A JPEG of at most 200 pixels a side; None where the medium is no image that may be opened here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of foreign images are no news on a page
            return _small(media)
    except Exception:  # decoders raise whatever the damage leads to; the page says that there is no picture
        return None


def data_url(jpeg: bytes) -> str:
    """The picture as it stands in the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _small(media: bytes) -> bytes | None:
    with Image.open(io.BytesIO(media), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            return None
        image.draft("RGB", (2 * THUMB_PX, 2 * THUMB_PX))
        image.thumbnail((THUMB_PX, THUMB_PX))
        if "A" in image.getbands() or "transparency" in image.info:
            over = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over)
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=80)
        return buffer.getvalue()
