"""Values that duplicates are found by, and that no row has any more once samples are forgotten.

Tables of a global step hold perceptual hashes, and texts by their hashes, apart from the rows they came from
(near_duplicates.py, text_duplicates.py). What is to be forgotten there is what only forgotten rows had.

    shuffle/<step>-rows/scatter/*.parquet    part, row, node: what each row is compared by
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.commit import Commit, read_commits
from pipeline.forget import tables
from pipeline.forget.request import Removal
from pipeline.forget.select import in_threads, read_some
from pipeline.store import Store

ROWS = "-rows"
"""How the name of a stage ends that says what each row is compared by; the step's name is what comes before."""
_NONE = np.zeros(0, np.uint64)


def lonely_nodes(dataset: Store, removal: Removal) -> dict[str, np.ndarray]:
    """Step -> the values that only rows of `removal` have, ascending.

    Where some of these tables were rewritten already, so were all others of the step: what is found then is not needed.
    """
    found = {}
    for stage in dataset.folders("commits"):
        if stage.endswith(ROWS):
            commits = list(read_commits(dataset, stage).values())
            found[stage.removesuffix(ROWS)] = _lonely(dataset, commits, removal)
    return found


def _lonely(dataset: Store, commits: list[Commit], removal: Removal) -> np.ndarray:
    touched = set(removal.parts)

    def of_rows(commit: Commit, *, are_meant: bool) -> np.ndarray:
        table = read_some(dataset, commit.file(".parquet"), ("key", "part", "row", "node"))
        if "node" not in table.column_names:
            return _NONE
        mask = tables.meant(table, removal, _NONE) == are_meant
        return np.unique(table.column("node").filter(pa.array(mask)).to_numpy())

    holding = [commit for commit in commits if commit.part in touched]
    mine = in_threads(lambda commit: of_rows(commit, are_meant=True), holding)
    nodes = np.unique(np.concatenate([_NONE, *mine]))
    if not len(nodes):
        return nodes
    for others in in_threads(lambda commit: of_rows(commit, are_meant=False), commits):
        nodes = nodes[~np.isin(nodes, others)]
    return nodes
