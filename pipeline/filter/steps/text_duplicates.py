"""Texts that say nearly the same, over the whole dataset: MinHash finds who may, shingles decide.

Takes the texts of fetched rows. Writes `scores/text_duplicates/00042.parquet`: `cluster`, `copies` and `rank`, 0 for
the row with the smallest key (clusters.py).

    raw parts --TextScatter--> DistinctTexts --BandScatter--> BandPairs --> text_pairs.py --> components --> clusters

Texts that are equal once they are made plain (shingles.py) become one before anything is compared, so a caption that
lies in the list a million times costs no more than one. Pairs that share a band of their signatures are compared by
their shingles, exactly: what is linked is as similar as the recipe asks, and what is missed is missed with the chance
that the recipe allows (`recall`). Clusters are connected components: a chain of texts, each similar to the next, is
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.media import batch_bounds
from pipeline.filter.steps.clusters import cluster_rows, node_rows
from pipeline.filter.steps.components import EDGES, find_components, first_of_pair
from pipeline.filter.steps.text_pairs import verified_pairs
from pipeline.filter.text.choice import Which, chosen_text, row_texts
from pipeline.filter.text.minhash import Bands, band_hashes, choose_bands
from pipeline.filter.text.shingles import BATCH_BYTES, BATCH_TEXTS, Kind, plain, shingles
from pipeline.recipe import RecipeTable
from pipeline.record import Status
from pipeline.shuffle import BUCKET_ROWS, Gather, Scatter, bucket_bits, order_of, read_gathered, read_parquet, shuffle
from pipeline.stage import Part, Stage, Workspace

MAX_GROUP = 50
"""Texts that share a band and are compared each with each; in a larger group each is compared with the first, and with
the MAX_GROUP / 2 that follow it."""


class TextDuplicatesConfig(RecipeTable):
    """The `[score.text_duplicates]` table."""

    which: Which = "first"
    """Which text of a row is compared: the `first`, the `longest`, or `all` joined."""
    shingles: Kind = "characters"
    """Runs of characters, which suit captions and languages without spaces; or of words, for longer texts."""
    shingle_size: int = Field(default=5, ge=1, le=50)
    """Characters or words of a shingle."""
    threshold: float = Field(default=0.7, gt=0, le=1)
    """Shingles that two texts share, over all that either has, from which they are duplicates."""
    num_hashes: int = Field(default=128, ge=1, le=1024)
    """Places of a MinHash signature; more find pairs near the threshold with fewer comparisons in vain."""
    recall: float = Field(default=0.98, gt=0, lt=1)
    """The chance that a pair exactly at the threshold is compared at all; pairs above it have a better one."""
    bucket_rows: int = Field(default=BUCKET_ROWS, ge=1)
    """Rows one worker holds at once; memory is about a kilobyte each. Never changes the result."""

    def bands(self) -> Bands:
        """How signatures are cut."""
        return choose_bands(self.num_hashes, self.threshold, self.recall)


def find_text_duplicates(
    engine: Engine, config: TextDuplicatesConfig, fetched: Mapping[str, Commit]
) -> tuple[Stage, list[Part]]:
    """Run the comparison over all fetched parts; returns the stage that writes back and its parts, to be run."""
    bands = config.bands()
    num_rows = sum(commit.counts.get(Status.SUCCESS.value, 0) for commit in fetched.values())
    rows = TextScatter(bucket_bits(num_rows, config.bucket_rows), config)
    parts = [Part(part, (("fetch", part),)) for part in fetched]
    texts = DistinctTexts(rows, list(fetched))
    distinct = shuffle(engine, rows, parts, texts)
    num_texts = sum(commit.rows_out for commit in distinct.values())
    meet = BandScatter(bucket_bits(num_texts * bands.num_bands, config.bucket_rows), config)
    text_parts = [Part(bucket, ((texts.name, bucket),)) for bucket in distinct]
    pairs = shuffle(engine, meet, text_parts, BandPairs(meet, list(distinct)))
    edges = verified_pairs(engine, config, pairs, texts)
    links = find_components(engine, "text-duplicates", edges, config.bucket_rows)
    return cluster_rows(engine, "text_duplicates", rows, parts, links, config.bucket_rows)


class TextScatter(Scatter):
    """Sends each row that has words to the hash of its plain text."""

    name: ClassVar[str] = "text_duplicates-rows"
    version: ClassVar[int] = 1

    def __init__(self, bits: int, config: TextDuplicatesConfig) -> None:
        super().__init__(bits)
        self.config = config

    def settings(self) -> Any:
        """Which text is compared."""
        return {"bits": self.bits, "which": self.config.which}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """Rows by `node`, the hash, with the plain `text`."""
        raw = read_parquet(work.dataset, f"raw/{part.id}.parquet", ["key", "outcome", "texts"])
        fetched = pc.equal(raw.column("outcome"), Status.SUCCESS.value).to_numpy()
        texts = [plain(chosen_text(row, self.config.which)) for row in row_texts(raw.column("texts"))]
        at = np.flatnonzero(fetched & np.array([text != "" for text in texts], bool))
        chosen = [texts[row] for row in at.tolist()]
        nodes = np.fromiter(map(order_of, chosen), np.uint64, len(chosen))
        table = node_rows(part.id, at, raw.column("key").take(at), nodes, np.zeros(len(at), np.int64))
        return table.append_column("text", pa.array(chosen, pa.string()))


class DistinctTexts(Gather):
    """The plain texts that occur, each once: `node`, `text`, sorted by node."""

    name: ClassVar[str] = "text_duplicates-distinct"
    version: ClassVar[int] = 1

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Of two texts with one hash, which takes billions of texts to be likely, the first in order stays."""
        table = table.select(["node", "text"]).sort_by([("node", "ascending"), ("text", "ascending")])
        _, first = np.unique(table.column("node").to_numpy(), return_index=True)
        return table.take(first), {}


class BandScatter(Scatter):
    """Sends each text to each of its bands."""

    name: ClassVar[str] = "text_duplicates-bands"
    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("node",)

    def __init__(self, bits: int, config: TextDuplicatesConfig) -> None:
        super().__init__(bits)
        self.config = config

    def settings(self) -> Any:
        """How texts are cut into shingles, and signatures into bands."""
        bands = self.config.bands()
        kind, size = self.config.shingles, self.config.shingle_size
        return {"bits": self.bits, "bands": bands.num_bands, "rows": bands.rows, "shingles": kind, "size": size}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """Nodes by the hash of a band."""
        table = read_gathered(work.dataset, *part.inputs[0])
        bands = self.config.bands()
        orders = [np.zeros(0, np.uint64)]
        nodes = [np.zeros(0, np.uint64)]
        sizes = pc.binary_length(table.column("text")).to_numpy()
        for start, end in batch_bounds(sizes, BATCH_TEXTS, BATCH_BYTES):
            some = table.slice(start, end - start)
            found = shingles(some.column("text").to_pylist(), self.config.shingles, self.config.shingle_size)
            orders += band_hashes(found, bands)
            nodes += [some.column("node").to_numpy()] * bands.num_bands
        return pa.table({"order": np.concatenate(orders), "node": np.concatenate(nodes)})


class BandPairs(Gather):
    """Pairs of texts that share a band, to be compared. The fact `crowded` counts texts in groups too large for all."""

    name: ClassVar[str] = "text_duplicates-pairs"
    version: ClassVar[int] = 1

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """`node` and `other`, the larger."""
        order, node = table.column("order").to_numpy(), table.column("node").to_numpy()
        starts = np.flatnonzero(np.append(True, order[1:] != order[:-1])[: len(order)])
        sizes = np.diff(np.append(starts, len(order)))
        left, right = pairs_of_groups(starts, sizes)
        smaller, larger = node[left], node[right]  # a run is sorted by node
        by_pair = np.lexsort((larger, smaller))
        smaller, larger = smaller[by_pair], larger[by_pair]
        new = first_of_pair(smaller, larger)
        pairs = pa.table([smaller[new], larger[new]], schema=EDGES)
        return pairs, {"crowded": int(sizes[sizes > MAX_GROUP].sum())}


def pairs_of_groups(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pairs to compare, within runs of places; the first of a pair is the smaller place."""
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes).tolist():
        first = starts[sizes == size][:, None]
        if size <= MAX_GROUP:
            one, two = np.triu_indices(size, 1)
        else:
            place = np.arange(size)
            near = [(place[:-ahead], place[ahead:]) for ahead in range(1, MAX_GROUP // 2 + 1)]
            one, two = (np.concatenate(side) for side in zip((0 * place[1:], place[1:]), *near, strict=True))
        left.append((first + one).ravel())
        right.append((first + two).ravel())
    return np.concatenate(left), np.concatenate(right)
