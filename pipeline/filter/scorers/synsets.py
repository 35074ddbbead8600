"""Words of a sample's text whose first sense in WordNet is on a list of synsets, as DataComp's text-based rule asks.

    [score.synsets]
    wordnet = "models/WordNet-3.0/dict"
    synsets = "lists/imagenet21k_wordnet_ids.txt"

Source: Gadre et al. 2023 (arXiv 2304.14108), appendix on text-based filtering, and baselines/apply_filter.py.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.errors import RecipeError
from pipeline.filter.named_file import content_sha256, named_file
from pipeline.filter.ranges import ranged
from pipeline.filter.text.choice import Which, chosen_text, row_texts
from pipeline.filter.text.wordnet import FILES, WordNet, wordnet_file
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

_WORDNET, _SYNSETS = "score.synsets.wordnet", "score.synsets.synsets"
_WANTED = "a file with one synset per line, such as n02084071"
_SYNSET = re.compile(r"[nvasr]?(\d{8})")
_MAX_WORDS = 1 << 18
"""Words whose answer is remembered; captions repeat theirs."""


class SynsetsScoreConfig(RecipeTable):
    """The `[score.synsets]` table."""

    wordnet: str
    """The folder `dict` of WordNet 3.0, with index.noun, noun.exc and so on."""
    synsets: str
    """A UTF-8 file of one synset per line, such as n02084071. As in DataComp the number alone is compared."""
    which: Which = "first"
    """Which text of a row: the `first`, the `longest`, or `all`."""


class SynsetsScore:
    """num_matches: words, of all between blanks, whose first sense is on the list."""

    name: ClassVar[str] = "synsets"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    writes: ClassVar[pa.Schema] = pa.schema([ranged("num_matches", pa.int32(), 0)])
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: SynsetsScoreConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """The list and WordNet by their contents, and which text counts."""
        folder = self.config.wordnet
        files = {name: content_sha256(wordnet_file(folder, name, _WORDNET)) for name in FILES}
        synsets = content_sha256(named_file(self.config.synsets, _SYNSETS, _WANTED))
        return {"wordnet": files, "synsets": synsets, "which": self.config.which}

    def check(self) -> None:
        """Refuse a folder that is not WordNet's, and a list that is none."""
        WordNet(self.config.wordnet, _WORDNET)
        read_synsets(self.config.synsets)

    def setup(self) -> None:
        """Read WordNet and the list."""
        wordnet, listed = WordNet(self.config.wordnet, _WORDNET), read_synsets(self.config.synsets)
        self.is_listed = lru_cache(_MAX_WORDS)(lambda word: wordnet.first_sense(word) in listed)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Count the words of each row's text; a word that comes twice counts twice."""
        texts = [chosen_text(texts, self.config.which) for texts in row_texts(table.column("texts"))]
        counts = np.fromiter((sum(map(self.is_listed, text.split())) for text in texts), np.int32, len(texts))
        return pa.table({"num_matches": counts}, schema=self.writes)


def read_synsets(path: str) -> frozenset[int]:
    """The offsets of a list of synsets. Raises: RecipeError: no such file, or not such a list."""
    lines = named_file(path, _SYNSETS, _WANTED).read_text("utf-8-sig", "replace").split("\n")
    found = set()
    for word in filter(None, map(str.strip, lines)):
        synset = _SYNSET.fullmatch(word)
        if synset is None:
            raise RecipeError(f"{_SYNSETS} is {path!r}: holds {word[:40]!r}. Wanted {_WANTED}.")
        found.add(int(synset[1]))
    if not found:
        raise RecipeError(f"{_SYNSETS} is {path!r}: holds no synset. Wanted {_WANTED}.")
    return frozenset(found)
