"""How webdataset tars are laid out: members of one sample share their name up to the first dot of its last part."""

from __future__ import annotations

STORED_ENDINGS = frozenset({"jpg", "jpeg", "png", "webp"})
"""Endings of the media that can be taken over as they lie."""


def split_member(name: str) -> tuple[str, str]:
    """The sample's key and the ending (`jpg`, `seg.png`, in lower case) of a member; either may be empty."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return (f"{folder}{slash}{stem}" if stem else ""), ending.lower()
