"""What became of a row in two dialects: our outcomes, and the status and error message of img2dataset 1.47.

Theirs are three statuses and free text; ours are words that each say one thing. `their_status`, `their_message` give
what a reader of img2dataset expects of an outcome; `our_outcome` reads a failure that img2dataset recorded.
"""

from __future__ import annotations

import re

from pipeline.ingest.fetch.client import http_status
from pipeline.record import Status

SUCCESS = "success"
FAILED_TO_DOWNLOAD = "failed_to_download"
FAILED_TO_RESIZE = "failed_to_resize"

_OF_THE_MEDIUM = frozenset(
    {
        Status.EMPTY_BODY,
        Status.WRONG_TYPE,
        Status.DECODE_ERROR,
        Status.TOO_MANY_PIXELS,
        Status.TOO_SMALL,
        Status.TOO_LONG,
    }
)
"""What img2dataset finds out once it has the body, and so calls failed to resize."""

_OPT_OUT = "Use of image disallowed by X-Robots-Tag directive"
_ASPECT_RATIO = "aspect ratio too large"
_THEIR_WORDS = {
    Status.HASH_MISMATCH: "hash mismatch",
    Status.TOO_SMALL: "image too small",
    Status.TOO_MANY_PIXELS: "image area too large",
    Status.DECODE_ERROR: "Image decoding error",
    Status.WRONG_TYPE: "Image decoding error",
}
"""Messages of img2dataset's own, which its users match on; `detail` keeps what they leave out."""

_FAILURES = {outcome.value: outcome for outcome in Status if outcome != Status.SUCCESS}
_HTTP_ERROR = re.compile(r"HTTP Error (\d{3})")
_OUR_WORDS: tuple[tuple[str, Status], ...] = (
    ("hash mismatch", Status.HASH_MISMATCH),
    ("X-Robots-Tag", Status.OPTED_OUT),
    ("image too small", Status.TOO_SMALL),
    ("image area too large", Status.TOO_MANY_PIXELS),
    ("Image decoding error", Status.DECODE_ERROR),
    ("timed out", Status.TIMEOUT),
    ("CERTIFICATE", Status.TLS_ERROR),
    ("SSL", Status.TLS_ERROR),
    ("Name or service not known", Status.DNS_ERROR),
    ("name resolution", Status.DNS_ERROR),
    ("No address associated", Status.DNS_ERROR),
    ("unknown url type", Status.REFUSED_SCHEME),
    ("Connection refused", Status.CONNECT_ERROR),
    ("unreachable", Status.CONNECT_ERROR),
)


def their_status(outcome: str) -> str:
    """The status that img2dataset would give a row of this outcome."""
    if outcome == Status.SUCCESS:
        return SUCCESS
    return FAILED_TO_RESIZE if outcome in _OF_THE_MEDIUM else FAILED_TO_DOWNLOAD


def their_message(outcome: str, detail: str | None, medium: str = "image") -> str | None:
    """The error message of a row: img2dataset's own where it has one, else our word and detail."""
    if outcome == Status.SUCCESS:
        return None
    if outcome == Status.OPTED_OUT and detail is not None and "x-robots-tag" in detail.lower():
        return _OPT_OUT
    if detail == _ASPECT_RATIO:
        return detail
    if medium == "image" and outcome in _THEIR_WORDS:
        return _THEIR_WORDS[Status(outcome)]
    return f"{outcome}: {detail}" if detail else str(outcome)


def our_outcome(status: str | None, message: str | None) -> tuple[Status, str]:
    """Our outcome of a failure that img2dataset (or pairmill, in its dialect) recorded, and its message as detail."""
    text = " ".join((message or "").split())[:120]
    word, _, detail = text.partition(": ")
    if word in _FAILURES:
        return _FAILURES[word], detail
    if "redirect error" in text:  # urllib gives it the code of the last redirect
        return Status.TOO_MANY_REDIRECTS, text
    code = _HTTP_ERROR.search(text)
    if code is not None:
        return http_status(int(code[1]))[0], text
    for words, ours in _OUR_WORDS:
        if words.lower() in text.lower():
            return ours, text
    if status == FAILED_TO_RESIZE:
        return (Status.TOO_SMALL if "aspect ratio" in text else Status.DECODE_ERROR), text
    if status == FAILED_TO_DOWNLOAD:
        return Status.PROTOCOL_ERROR, text
    return Status.BAD_ROW, f"status {status!r}"
