"""The range of a score: declared by its scorer in the metadata of the Arrow field, read by whoever sets a threshold.

`ranged("similarity", pa.float32(), -1, 1)` gives a field with the metadata {b"range": b"-1..1"}, and
`ranged("num_words", pa.int32(), 0)` one with {b"range": b"0.."}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

_KEY = b"range"


@dataclass(frozen=True)
class Range:
    """Least and greatest value of a score, both included; infinite where there is no bound."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{_bound(self.low)}..{_bound(self.high)}"


def _bound(value: float) -> str:
    """A bound as it is read back; nothing where there is none."""
    if math.isinf(value):
        return ""
    return str(int(value)) if value == int(value) else repr(float(value))


def ranged(name: str, type_: pa.DataType, low: float | None = None, high: float | None = None) -> pa.Field:
    """A field of a scorer's `writes` whose values lie between `low` and `high`, both included; None is no bound."""
    range_ = Range(-math.inf if low is None else low, math.inf if high is None else high)
    return pa.field(name, type_, metadata={_KEY: str(range_).encode()})


def range_of(field: pa.Field) -> Range | None:
    """The declared range of a score, or None where there is none.

    Raises: ValueError: what is declared is no range, a mistake in the scorer.
    """
    declared = (field.metadata or {}).get(_KEY)
    if declared is None:
        return None
    low, dots, high = declared.decode().partition("..")
    if not dots:
        raise ValueError(f"field {field.name}: the range {declared!r} is not of the form b'low..high'")
    return Range(float(low) if low else -math.inf, float(high) if high else math.inf)
