"""Words of a list that the user supplies, such as profanity: how many of them a text holds.

The list is a UTF-8 file of one word or phrase per line; empty lines and those that begin with # are skipped. No list
comes with pairmill: which words offend is the user's to say, and differs by language. A text is compared in lower case
word by word, without the punctuation around a word, so that "Assess" never matches a part of itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import RecipeError
from pipeline.filter.named_file import named_file


class WordList:
    """The entries of one list.

    Args:
        path: the file; read at once. `setting` is the recipe's name of it, for errors.
    Raises: RecipeError: no such file, not UTF-8, or without one entry.
    """

    def __init__(self, path: str, setting: str) -> None:
        try:
            data = named_file(path, setting, "a list of one word per line").read_bytes()
            lines = data.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise RecipeError(f"{setting} is {path!r}: not UTF-8 text. Save the list as UTF-8.") from None
        entries = (_plain_words(line) for line in lines if not line.lstrip().startswith("#"))
        self.entries = frozenset(entry for entry in entries if entry)
        if not self.entries:
            raise RecipeError(f"{setting} is {path!r}: holds no word. Write one word or phrase per line.")
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._lengths = sorted({len(entry) for entry in self.entries} - {1})
        self._words = frozenset(entry[0] for entry in self.entries if len(entry) == 1)

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """How many entries each text holds, repetitions included."""
        return np.fromiter(map(self._count, texts), np.int32, len(texts))

    def _count(self, text: str) -> int:
        words = _plain_words(text)
        found = sum(word in self._words for word in words)
        for n in self._lengths:
            found += sum(words[i : i + n] in self.entries for i in range(len(words) - n + 1))
        return found


def _plain_words(text: str) -> tuple[str, ...]:
    words = (word.strip(_EDGES) for word in text.lower().split())
    return tuple(word for word in words if word)


_EDGES = "".join(sign for sign in map(chr, range(33, 127)) if not sign.isalnum()) + "“”‘’«»„…–—¡¿"
