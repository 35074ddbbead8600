"""The type of a body by its first bytes; what the server or the URL says about it is not believed."""

from __future__ import annotations

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"PK\3\4", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\0\0\1\0", "image/vnd.microsoft.icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}


def sniff(body: bytes) -> str | None:
    """The MIME type that the first bytes of `body` give away; None where they give away nothing."""
    for signature, mime in _SIGNATURES:
        if body.startswith(signature):
            return mime
    if body[:4] == b"RIFF":
        return _RIFF.get(body[8:12])
    if body[4:8] == b"ftyp":
        return _by_brand(body)
    return _text_type(body[:1024])


def _by_brand(body: bytes) -> str:
    brands = [body[8:12], *(body[i : i + 4] for i in range(16, min(int.from_bytes(body[:4], "big"), 64), 4))]
    for brand in brands if brands[0] in (b"mif1", b"msf1") else brands[:1]:
        if brand in _BRANDS and brand != b"mif1":
            return _BRANDS[brand]
    return _BRANDS.get(brands[0], "video/mp4")


def _text_type(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "text/html"
    if b"<svg" in text and text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return "image/svg+xml"
    if text.startswith(b"<?xml"):
        return "text/xml"
    if text and not any(byte < 9 for byte in head):
        return "text/html" if text.startswith(b"<") else "text/plain" if _is_utf8(head) else None
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # cut inside its last character
    return True
