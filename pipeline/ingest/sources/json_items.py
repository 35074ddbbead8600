"""The items of a list inside one JSON file, item by item: `[...]`, or `{"images": [...], ...}` by the list's name.

Published JSON lists are one value of up to a gigabyte, which costs several times its size when it is loaded whole.
Here a buffer of text is parsed as far as it holds whole items, so memory is that of the largest item; lists of other
names are passed over in the same way.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from pipeline.errors import SourceError, nearest
from pipeline.ingest.sources.files import UNREADABLE, open_list

_CHUNK_BYTES = 1 << 20
_MAX_ITEM_CHARS = 256 << 20
_MAX_CUT_CHARS = 2
_SPACE = re.compile(r"[ \t\r\n]*")


def json_items(path: str, key: str | None = None) -> Iterator[Any]:
    """The items of the list called `key` in the object that the file holds; of the list that it is where None.

    Raises: SourceError: the file is not JSON, or holds no such list, or ends in the middle.
    """
    try:
        with open_list(path) as stream:
            text = _Text(stream)
            if key is not None:
                _seek(text, path, key)
            elif text.peek() != "[":
                raise SourceError(f"{path}: not a JSON list; wanted [ and objects, found {text.shown()}.")
            yield from text.items()
    except _NotJson as error:
        raise SourceError(f"{path}: not JSON: {error}. Get the list again.") from None
    except UNREADABLE as error:
        raise SourceError(f"{path}: cannot be read: {type(error).__name__}: {error}") from None


def first_item(path: str, key: str | None, fields: tuple[str, ...]) -> dict[str, Any] | None:
    """The first object of a list, looked at to see whether the file is of the kind asked for; None of an empty list.

    Raises: SourceError: as `json_items`; or the object lacks one of `fields`.
    """
    items = json_items(path, key)
    first = next((item for item, _ in zip(items, range(100), strict=False) if isinstance(item, dict)), None)
    items.close()
    if first is not None:
        for field in fields:
            if field not in first:
                have = ", ".join(list(first)[:40])
                raise SourceError(
                    f"{path}: its first object has no {field!r}; found: {have}. {nearest(field, first)} "
                    "Correct the recipe's [source], or the path."
                )
    return first


def _seek(text: _Text, path: str, key: str) -> None:
    """Go to the list called `key`, past what stands before it."""
    if text.peek() != "{":
        raise SourceError(f"{path}: not a JSON object that has a list {key!r}; found {text.shown()}.")
    text.take("{")
    found: list[str] = []
    while text.peek() != "}":
        name = text.value()
        text.take(":")
        found.append(str(name))
        if name == key:
            if text.peek() != "[":
                raise SourceError(f"{path}: has no list {key!r}, but {text.shown()} there.")
            return
        if text.peek() == "[":
            for _ in text.items():
                pass
        else:
            text.value()
        if text.peek() == ",":
            text.take(",")
    have = ", ".join(found[:40]) or "nothing"
    raise SourceError(f"{path}: has no list {key!r}; found: {have}. {nearest(key, found)}".rstrip())


class _NotJson(Exception):
    """What stands there is no JSON."""


class _Text:
    """JSON text out of a stream, of which only what is not yet parsed is held."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._bytes_to_text = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._passed = 0
        self._ended = False

    def items(self) -> Iterator[Any]:
        """The items of the list that begins here."""
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() == ",":
                self.take(",")
            elif self.peek() != "]":
                raise _NotJson(f"character {self._place()}: wanted , or ], found {self.shown()}")
        self.take("]")

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            self.peek()
            try:
                value, end = self._parse(self._text, self._at)
            except RecursionError:
                raise _NotJson(f"character {self._place()}: too deeply nested") from None
            except json.JSONDecodeError as error:
                place = self._passed + error.pos
                if not self._may_go_on(error) or not self._fill():
                    raise _NotJson(f"character {place}: {error.msg}") from None
                continue
            length = end - self._at
            if len(self._text) - end <= _MAX_CUT_CHARS and self._fill():
                continue  # a number may go on: 0 may be 0.5 or 0e+1
            self._at += length
            return value

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # always matches
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def take(self, wanted: str) -> None:
        """Pass over one character."""
        if self.peek() != wanted:
            raise _NotJson(f"character {self._place()}: wanted {wanted}, found {self.shown()}")
        self._at += 1

    def shown(self) -> str:
        """What comes next, for a message."""
        while self.peek() and len(self._text) - self._at < 20 and self._fill():
            pass
        return repr(self._text[self._at : self._at + 20]) if self.peek() else "the end of the file"

    def _place(self) -> int:
        return self._passed + self._at

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the value may only be cut off by the end of the buffer: then the error stands near that end."""
        is_near = error.pos >= len(self._text) - 16 or error.msg.startswith("Unterminated string")
        return is_near and len(self._text) - self._at < _MAX_ITEM_CHARS

    def _fill(self) -> bool:
        """Read on, at least as much as is left; whether there was anything."""
        self._passed += self._at
        self._text, self._at = self._text[self._at :], 0
        before = len(self._text)
        while not self._ended and len(self._text) == before:
            chunk = self._stream.read(max(_CHUNK_BYTES, before))
            self._ended = not chunk
            self._text += self._bytes_to_text.decode(chunk, final=self._ended)
        return len(self._text) > before
