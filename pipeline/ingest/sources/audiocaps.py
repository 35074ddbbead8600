"""AudioCaps: csv of audiocap_id, youtube_id, start_time and caption; ten-second clips out of YouTube videos.

The list has no links to sounds, so the recipe says how its clips are called where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import field_validator

from pipeline.ingest.sources.csv_list import csv_columns, csv_rows
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.media import OwnMediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_NEEDED = ("audiocap_id", "youtube_id", "start_time", "caption")


class AudiocapsConfig(OwnMediaConfig):
    """Settings of the `audiocaps` source."""

    file: str = "{youtube_id}_{start_time}.wav"
    """What a clip's file is called, of the columns in braces."""

    @field_validator("file")
    @classmethod
    def _of_known_columns(cls, value: str) -> str:
        try:
            value.format_map(dict.fromkeys(_NEEDED, ""))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"{value!r}: {error}; wanted a name of {', '.join(_NEEDED)} in braces") from None
        return value


class Audiocaps(Source):
    """AudioCaps. A row is one caption, and its identifier the audiocap_id; clips of several captions are several."""

    Config = AudiocapsConfig
    suffixes = (".csv",)
    medium = "audio"
    licence = "MIT for the captions; the sounds are their owners'"
    citation = "Kim et al. 2019, AudioCaps, NAACL 2019, aclanthology.org/N19-1011"
    config: AudiocapsConfig

    def check_file(self, file: ListFile) -> None:
        """All four columns must be there."""
        need_columns(file.path, csv_columns(file.path, ","), list(_NEEDED))

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per caption."""
        return csv_rows(file.path, ",", self._row)

    def _row(self, number: int, row: dict[str, Any]) -> Row:
        url = media_url(self.config.media, self.config.file.format_map(row)) if row["youtube_id"] else None
        meta = {"youtube_id": row["youtube_id"], "start_time": row["start_time"]}
        return Row(number, url, (RowText(row["caption"], "caption", "en"),), row["audiocap_id"], meta=meta)
