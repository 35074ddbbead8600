"""The segments of a JPEG that are not pixels: ICC profile, EXIF, and all that tells of people, places and cameras.

Source: ITU-T T.81 (markers), Exif 2.32 (APP1), ICC.1:2022 annex B.4 (profiles in APP2).
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

_ICC = b"ICC_PROFILE\0"
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_MAX_SEGMENT = 65_533
_SOS, _EOI = 0xDA, 0xD9


def segments(body: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments up to the first scan, which is the last one given; `end` excludes data."""
    at = 2
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker = body[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(body[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(body):
            return
        yield marker, at, end
        if marker == _SOS:
            return
        at = end


def icc_of(body: bytes) -> bytes | None:
    """The ICC profile of a JPEG, joined from its pieces; None where there is none, or a piece is missing."""
    pieces: dict[int, bytes] = {}
    wanted = 0
    for marker, start, end in segments(body):
        if marker == 0xE2 and body.startswith(_ICC, start + 4) and end >= start + 18:
            number, wanted = body[start + 16], body[start + 17]
            pieces[number] = body[start + 18 : end]
    if not wanted or sorted(pieces) != list(range(1, wanted + 1)):
        return None
    return b"".join(pieces[number] for number in sorted(pieces))


def exif_of(body: bytes) -> bytes | None:
    """The EXIF segment's content of a JPEG."""
    for marker, start, end in segments(body):
        if marker == 0xE1 and body.startswith(_EXIF, start + 4):
            return body[start + 4 : end]
    return None


def with_exif(encoded: bytes, exif: bytes | None) -> bytes:
    """A JPEG of ours with `exif` in it: upright, without a preview, which may show what the image no longer does."""
    if exif is None:
        return encoded
    tags = Image.Exif()
    try:
        tags.load(exif)
        tags[_ORIENTATION] = 1
        content = tags.tobytes()
    except Exception:  # Pillow raises whatever the damage leads to
        return encoded
    content = content if content.startswith(_EXIF) else _EXIF + content
    if len(content) > _MAX_SEGMENT:
        return encoded
    return b"".join((encoded[:2], b"\xff\xe1", (len(content) + 2).to_bytes(2, "big"), content, encoded[2:]))


def stripped(body: bytes) -> bytes:
    """A JPEG without EXIF, XMP, IPTC, previews, comments and what follows its end; pixels and profile stay.

    One whose segments cannot be walked to the end is given back as it is.
    """
    kept = [body[:2]]
    scan = None
    for marker, start, end in segments(body):
        if marker == _SOS:
            scan = start
        elif not _tells(body, marker, start):
            kept.append(body[start:end])
    if scan is None:
        return body
    end = _end_of_image(body, scan)
    return body if end is None else b"".join((*kept, body[scan:end]))


def _tells(body: bytes, marker: int, start: int) -> bool:
    """Whether a segment is for people or programs, and not for the decoder."""
    if marker == 0xE0:
        return not body.startswith(b"JFIF\0", start + 4)  # else an extension that holds a preview
    if marker == 0xE2:
        return not body.startswith(_ICC, start + 4)
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)  # APP14 says how colours are coded


def _end_of_image(body: bytes, at: int) -> int | None:
    """Where the image that has its first scan at `at` ends."""
    while True:
        at = body.find(b"\xff", at)
        if at < 0 or at + 2 > len(body):
            return None
        marker = body[at + 1]
        if marker == _EOI:
            return at + 2
        if marker == 0x00 or 0xD0 <= marker <= 0xD7:  # a data byte, or a restart inside the scan
            at += 2
        elif marker == 0xFF:
            at += 1
        else:
            at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
