"""The first sense of a word in WordNet: its lemma by WordNet's rules of endings, then the most frequent synset of that.

Takes WordNet's database as Princeton publishes it, a folder with index.noun, noun.exc and so on (wndb(5WN)); NLTK's
corpus `wordnet` holds the same files of 3.0. Gives what NLTK 3.8.1 gives as `wordnet.synsets(word)[0].offset()`,
which is what DataComp asks: nouns come before verbs, adjectives and adverbs, however rare they are. A form that is
listed as an exception has the lemmas listed for it, or itself; of any other the endings are taken off, again and
again, until a lemma is left (morphy(7WN)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.filter.named_file import named_file

MAX_WORD_CHARS = 256
"""A longer word has no sense. The longest lemma of 3.0 has 71; endings of a million letters would take for ever."""
_ENDINGS = {
    "noun": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
             ("men", "man"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
"""Part of speech, in the order in which they are asked -> endings, and what they become."""
FILES = tuple(name for part in _ENDINGS for name in (f"index.{part}", f"{part}.exc"))
"""The files of the folder that are read."""


@dataclass(frozen=True)
class _Part:
    """A part of speech: lemma -> offset of its first synset; irregular form -> its lemmas; endings."""

    senses: dict[str, int]
    exceptions: dict[str, tuple[str, ...]]
    endings: tuple[tuple[str, str], ...]


class WordNet:
    """The senses of words. About 40 MB, read in half a second."""

    def __init__(self, folder: str, setting: str) -> None:
        """Read `folder`. Raises: RecipeError: a file is missing, or is none of WordNet's; it names `setting`."""
        self._parts = [
            _Part(
                dict(_senses(wordnet_file(folder, f"index.{part}", setting), setting)),
                {form: tuple(lemmas) for form, *lemmas in _fields(wordnet_file(folder, f"{part}.exc", setting))},
                endings,
            )
            for part, endings in _ENDINGS.items()
        ]

    def first_sense(self, word: str) -> int | None:
        """Offset of the word's first synset in the data file of its part of speech; None where WordNet lacks it."""
        form = word.lower()
        if len(form) > MAX_WORD_CHARS:
            return None
        return next((sense for part in self._parts if (sense := _sense(form, part)) is not None), None)


def wordnet_file(folder: str, name: str, setting: str) -> Path:
    """The file `name` of WordNet's folder. Raises: RecipeError: it is not there."""
    return named_file(str(Path(folder) / name), setting, "WordNet's folder `dict`, with index.noun, noun.exc and so on")


def _sense(form: str, part: _Part) -> int | None:
    forms = [form]
    if form in part.exceptions:
        return _first(part, [form, *part.exceptions[form]])
    sense = _first(part, forms)
    while sense is None and forms:
        shorter = (form.removesuffix(old) + new for form in forms for old, new in part.endings if form.endswith(old))
        forms = list(dict.fromkeys(shorter))
        sense = _first(part, forms)
    return sense


def _first(part: _Part, forms: list[str]) -> int | None:
    return next((part.senses[form] for form in forms if form in part.senses), None)


def _senses(path: Path, setting: str) -> Iterator[tuple[str, int]]:
    """Lemmas and their first offsets: `lemma pos synsets pointers [pointer...] senses tagged offset [offset...]`."""
    for fields in _fields(path):
        try:
            yield fields[0], int(fields[6 + int(fields[3])])
        except (IndexError, ValueError):
            raise RecipeError(
                f"{setting}: {path} is no index of WordNet (found the line {' '.join(fields)[:60]!r}). Name the folder "
                "`dict` of WordNet 3.0."
            ) from None


def _fields(path: Path) -> Iterator[list[str]]:
    """The fields of each line; those that begin with a blank are the licence."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if not line.startswith(" ") and (fields := line.split()):
                yield fields
