"""What went wrong between us and a server, as a status and a few words that hold nothing of the URL."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable

from pipeline.record import Status

_OUR_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What says nothing about a URL; recorded as its status it would be a lie that no retry undoes."""
_MAX_DETAIL = 120


class Unanswered(Exception):
    """A request that ends without an answer, in `status`."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Stale(Exception):
    """A kept connection was closed by the other side before it answered: not the URL's fault, worth a fresh one."""


def is_ours(error: BaseException) -> bool:
    """Whether `error` speaks of this machine, not of the web."""
    return isinstance(error, OSError) and error.errno in _OUR_TROUBLE


def explain(error: BaseException) -> tuple[Status, str]:
    """The status of what an open connection, or reading a URL, raised; from the particular to the general."""
    for kind, status, say in _ERRORS:
        if isinstance(error, kind):
            return status, say(error)
    return Status.PROTOCOL_ERROR, type(error).__name__


def brief(error: BaseException) -> str:
    """What `error` says, in one short line."""
    return " ".join(str(error).split())[:_MAX_DETAIL]


def cause(error: BaseException) -> str:
    """The system's words for `error`; asyncio's own name the address."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else type(error).__name__


def _tls_reason(error: BaseException) -> str:
    return getattr(error, "verify_message", None) or getattr(error, "reason", None) or type(error).__name__


_ERRORS: tuple[tuple[type[BaseException], Status, Callable[[BaseException], str]], ...] = (
    (ssl.SSLError, Status.TLS_ERROR, _tls_reason),
    (OSError, Status.PROTOCOL_ERROR, cause),
    (ValueError, Status.INVALID_URL, lambda error: type(error).__name__),
)
