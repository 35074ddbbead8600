"""Pairs of texts compared by their shingles: each pair fetches one text, then the other, and is kept if it is similar.

    BandPairs --PairScatter--> FirstText --PairScatter--> SimilarPairs: edges

The texts lie in buckets by their hash (DistinctTexts); pairs are sent to the bucket of one side at a time, so that one
bucket of texts and one of pairs is all that is in memory. A pair that shares several bands is compared once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.media import batch_bounds
from pipeline.filter.steps.components import EDGES, first_of_pair
from pipeline.filter.text.shingles import BATCH_BYTES, BATCH_TEXTS, shingles, similarities
from pipeline.shuffle import Gather, Scatter, read_bucket, read_gathered, shuffle, spread
from pipeline.stage import Made, Part, Workspace

if TYPE_CHECKING:
    from pipeline.filter.steps.text_duplicates import TextDuplicatesConfig

Side = Literal["node", "other"]


def verified_pairs(
    engine: Engine, config: TextDuplicatesConfig, pairs: Mapping[str, Commit], texts: Gather
) -> dict[str, Commit]:
    """The pairs that are as similar as the recipe asks.

    Args:
        pairs: commits of a gather that wrote `node`, `other`.
        texts: the gather that wrote `node`, `text`, in buckets by spread(node).
    Returns: commits of a stage whose parts hold edges.
    """
    to_first = PairScatter("text_duplicates-to-first", texts.scatter.bits, "node")
    first = FirstText(to_first, list(pairs), texts)
    parts = [Part(part, ((commit.stage, part),)) for part, commit in pairs.items()]
    with_text = shuffle(engine, to_first, parts, first)
    to_second = PairScatter("text_duplicates-to-second", texts.scatter.bits, "other")
    similar = SimilarPairs(to_second, list(with_text), texts, config)
    return shuffle(engine, to_second, [Part(part, ((first.name, part),)) for part in with_text], similar)


class PairScatter(Scatter):
    """Sends each pair to the bucket of one of its texts."""

    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("node", "other")

    def __init__(self, name: str, bits: int, side: Side) -> None:
        super().__init__(bits)
        self.name, self.side = name, side  # type: ignore[misc]

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The pairs of one part, as they are."""
        table = read_gathered(work.dataset, *part.inputs[0])
        return table.append_column("order", pa.array(spread(table.column(self.side).to_numpy())))


class _TextJoin(Gather):
    """A gather of pairs that reads the bucket of texts beside its own."""

    def __init__(self, scatter: Scatter, parts: Sequence[str], texts: Gather) -> None:
        super().__init__(scatter, parts)
        self.texts = texts

    def buckets(self) -> list[Part]:
        """As of any gather, with the bucket of texts as a further input."""
        return [Part(part.id, (*part.inputs, (self.texts.name, part.id)), part.facts) for part in super().buckets()]

    def make(self, part: Part, work: Workspace) -> Made:
        """Read one bucket of both."""
        pairs = read_bucket(work.dataset, self.scatter, self.parts, part.facts["bucket"])
        texts = read_gathered(work.dataset, self.texts.name, part.id)
        return self.made(part, work, pairs.num_rows, self.join(pairs, texts), {})

    def join(self, pairs: pa.Table, texts: pa.Table) -> pa.Table:
        """What the pairs become."""
        raise NotImplementedError

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Not used: `make` joins two tables."""
        raise NotImplementedError


class FirstText(_TextJoin):
    """Each pair once, with the text of its first side."""

    name: ClassVar[str] = "text_duplicates-first"
    version: ClassVar[int] = 1

    def join(self, pairs: pa.Table, texts: pa.Table) -> pa.Table:
        """`node`, `other`, `text`."""
        node, other = pairs.column("node").to_numpy(), pairs.column("other").to_numpy()
        new = first_of_pair(node, other)
        pairs = pairs.select(EDGES.names).filter(pa.array(new))
        return pairs.append_column("text", _texts_of(texts, node[new]))


class SimilarPairs(_TextJoin):
    """The pairs whose texts share enough shingles."""

    name: ClassVar[str] = "text_duplicates-similar"
    version: ClassVar[int] = 1

    def __init__(self, scatter: Scatter, parts: Sequence[str], texts: Gather, config: TextDuplicatesConfig) -> None:
        super().__init__(scatter, parts, texts)
        self.config = config

    def settings(self) -> Any:
        """What is compared, and how similar is similar."""
        config = self.config
        return {"shingles": config.shingles, "size": config.shingle_size, "threshold": config.threshold}

    def join(self, pairs: pa.Table, texts: pa.Table) -> pa.Table:
        """Edges."""
        pairs = pairs.append_column("second", _texts_of(texts, pairs.column("other").to_numpy()))
        kind, size = self.config.shingles, self.config.shingle_size
        kept = [EDGES.empty_table()]
        sizes = [pc.binary_length(pairs.column(name)).to_numpy() for name in ("text", "second")]
        for start, end in batch_bounds(sizes[0] + sizes[1], BATCH_TEXTS, BATCH_BYTES):
            some = pairs.slice(start, end - start)
            sides = [shingles(some.column(name).to_pylist(), kind, size) for name in ("text", "second")]
            # a share of whole numbers is the nearest double to it, as the threshold is: equal ones are equal
            kept.append(some.select(EDGES.names).filter(pa.array(similarities(*sides) >= self.config.threshold)))
        return pa.concat_tables(kept)


def _texts_of(texts: pa.Table, nodes: np.ndarray) -> pa.ChunkedArray:
    """The texts of nodes that all occur in the table, which is sorted by node."""
    return texts.column("text").take(pa.array(np.searchsorted(texts.column("node").to_numpy(), nodes)))
