"""Which columns the scorers of a dataset have, found by looking, whatever the scorers are called.

Numbers are drawn, true-or-false and words are counted. Identifiers (64-bit hashes, numbers of clusters), lists and
bytes are named and not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from cluster.report.folder import Folder

Form = Literal["number", "flag", "word", "other"]
CLUSTER = ("cluster", "component", "group")
"""Names, or last words of names, of columns that say which cluster a row is in."""


@dataclass(frozen=True)
class ScoreColumn:
    """A column of a scorer."""

    scorer: str
    name: str
    form: Form
    is_whole: bool = False

    @property
    def full(self) -> str:
        """Its name in a verdict."""
        return f"{self.scorer}.{self.name}"


def find_columns(folder: Folder, of_rules: Sequence[str]) -> list[ScoreColumn]:
    """All columns of all scorers, and those columns of the record that rules look at.

    Args:
        of_rules: full names of the columns that rules look at.
    """
    found = []
    for scorer, parts in folder.scorers.items():
        schema = next((schema for file in parts.values() if (schema := folder.schema(file)) is not None), None)
        if schema is not None:
            found += [column_of(scorer, field) for field in schema if field.name != "key"]
    wanted = [name.removeprefix("record.") for name in of_rules if name.startswith("record.")]
    part = next(iter(folder.fetched.values()), None)
    record = None if part is None or not wanted else folder.schema(part.file(".parquet"))
    if record is not None:
        found += [column_of("record", record.field(name)) for name in wanted if name in record.names]
    return found


def names_to_read(columns: Sequence[ScoreColumn]) -> dict[str, list[str]]:
    """Scorer -> the columns that are counted; lists, bytes and hashes are never read."""
    found: dict[str, list[str]] = {}
    for column in columns:
        names = found.setdefault(column.scorer, [])
        if column.form != "other" or is_cluster(column.name):
            names.append(column.name)
    return found


def column_of(scorer: str, field: pa.Field) -> ScoreColumn:
    """What a column is, by its type and name."""
    name, type_ = field.name, field.type
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_boolean(type_):
        return ScoreColumn(scorer, name, "flag")
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return ScoreColumn(scorer, name, "word")
    is_identifier = pa.types.is_uint64(type_) or is_cluster(name)
    if pa.types.is_integer(type_) and not is_identifier:
        return ScoreColumn(scorer, name, "number", is_whole=True)
    if pa.types.is_floating(type_):
        return ScoreColumn(scorer, name, "number")
    return ScoreColumn(scorer, name, "other")


def is_cluster(name: str) -> bool:
    """Whether a column says which cluster a row is in."""
    return name in CLUSTER or name.endswith(tuple(f"_{word}" for word in (*CLUSTER, "cluster_id")))
