"""Our outcomes in img2dataset's words, and back."""

import pytest

from pipeline.ingest.fetch.dialect import our_outcome, their_message, their_status
from pipeline.record import Status

FAILURES = [status for status in Status if status != Status.SUCCESS]
SAID_ALIKE = {Status.WRONG_TYPE: Status.DECODE_ERROR}
"""What img2dataset has one message for."""


@pytest.mark.parametrize("outcome", FAILURES)
@pytest.mark.parametrize("detail", ["some words", "X-Robots-Tag: noai", None])
def test_what_was_said_in_their_words_is_understood(outcome, detail):
    status, message = their_status(outcome), their_message(outcome, detail)
    assert status in ("failed_to_download", "failed_to_resize")
    assert our_outcome(status, message)[0] == SAID_ALIKE.get(outcome, outcome)


def test_success_has_no_message():
    assert (their_status("success"), their_message("success", None)) == ("success", None)


@pytest.mark.parametrize(
    ("outcome", "detail", "medium", "message"),
    [
        ("http_404", "HTTP 404", "image", "http_404: HTTP 404"),
        ("hash_mismatch", "md5 differs from the list's", "image", "hash mismatch"),
        ("too_small", "9 x 9, at least 10 wanted", "image", "image too small"),
        ("too_small", "aspect ratio too large", "image", "aspect ratio too large"),
        ("too_small", "1 s, at least 2 wanted", "video", "too_small: 1 s, at least 2 wanted"),
        ("too_many_pixels", "1 x 9", "image", "image area too large"),
        ("decode_error", "cut off", "image", "Image decoding error"),
        ("wrong_type", "text/html, wanted an image", "image", "Image decoding error"),
        ("opted_out", "X-Robots-Tag: noai", "image", "Use of image disallowed by X-Robots-Tag directive"),
        ("opted_out", "robots.txt", "image", "opted_out: robots.txt"),
        ("deferred", None, "image", "deferred"),
    ],
)
def test_messages(outcome, detail, medium, message):
    assert their_message(outcome, detail, medium) == message
