"""A sample's life in words, one line per fact, as `pairmill trace` says it to people."""

from __future__ import annotations

from typing import Any

_MOST_STEPS = 8
"""Steps of a run that are named; --json names all."""


def life_lines(life: dict[str, Any]) -> list[str]:
    """A life for people, one line per fact."""
    lines = [f"key        {life['key']}"]
    for row in life["listed"]:
        lines.append(f"listed     {row['list']}, as {row['source']} {row['source_id'] or '(forgotten)'}")
        lines.append(f"           {row['part']} row {row['row']}")
        lines += [f"           {row['url']}"] if "url" in row else []
        lines += [f"           {text['kind']}: {text['text']}" for text in row.get("texts", ())]
    for row in life["fetched"]:
        lines += _fetch_lines(row)
    for place in life["shards"]:
        where = f"sample {place['position']} of {place['split']}" if "position" in place else place["split"]
        medium = f"its medium {place['media_size']} bytes at {place['media_offset']}"
        lines.append(f"shard      {place['tar']} row {place['row']}, {where}")
        lines.append(f"           {place['size']} bytes at {place['offset']}, {medium}")
    for request in life["forgotten"]:
        was = f", was row {request['shard_row']} of shards/{request['shard']}" if "shard" in request else ""
        lines.append(f"forgotten  by request {request['request']} at {request['asked_at']}{was}")
    for run in life["runs"]:
        lines += _run_lines(run)
    return lines


def _fetch_lines(row: dict[str, Any]) -> list[str]:
    """The fetch, the scores and the verdict of one row."""
    detail = f" ({row['detail']})" if "detail" in row else ""
    lines = [f"fetched    {row['outcome']}{detail}, raw part {row['part']} row {row['row']}"]
    if "sha256" in row:
        size = f"{row.get('bytes', 0):,} bytes received, stored {row.get('width')} x {row.get('height')} px"
        lines.append(f"           {row.get('fetched_at')}, {size}")
        lines.append(f"           sha256 {row['sha256']}, {row.get('tar')} at byte {row.get('tar_offset')}")
    for scorer, values in row["scores"].items():
        lines += [f"score      {scorer}.{name} = {value}" for name, value in values.items()]
    verdict = row["verdict"]
    if verdict is not None and verdict["keep"]:
        lines.append(f"verdict    kept, weight {verdict['weight']:g}")
    elif verdict is not None:
        rule = f": {verdict['rule']}" if "rule" in verdict else ""
        lines.append(f"verdict    dropped by {verdict['dropped_by']}{rule}")
    return lines


def _run_lines(run: dict[str, Any]) -> list[str]:
    if run["consumed"]:
        steps = ", ".join(str(item["step"]) for item in run["consumed"][:_MOST_STEPS])
        more = f" and {len(run['consumed']) - _MOST_STEPS} more" if len(run["consumed"]) > _MOST_STEPS else ""
        lines = [f"run        {run['run']}: consumed at step {steps}{more} (of {run['steps']}, from 0)"]
        lines += [f"           seen by {folder}" for folder in run["seen_by"]]
    else:
        did = "evaluated on it" if run["evaluated"] else "did not consume it"
        lines = [f"run        {run['run']}: {did}"]
    return lines + ([f"           not all is known: {run['unknown']}"] if "unknown" in run else [])
