"""What came of one try of one URL."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.record import Status


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try.

    `body` only where `status` is success; `wait_s` is what a server asked us to wait; `final` forbids another try.
    `again_s`: nothing was tried; come again after so many seconds.
    """

    status: Status
    detail: str | None = None
    body: bytes = b""
    wait_s: float | None = None
    final: bool = False
    again_s: float | None = None
