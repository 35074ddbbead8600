"""Sections about a dataset folder: the funnel, what was kept, what was dropped and why, the shards, how it was made."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from cluster.report.section import Section, table
from pipeline.commit import read_commits
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.funnel import Funnel, read_funnel
from pipeline.record import key_fraction
from pipeline.store import Store

GALLERY = 24
DROPPED_PER_REASON = 6
THUMB_PX = 200
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")


def dataset_sections(url: str) -> list[Section]:
    """All sections of one dataset. Raises: AskedWrongly: there is no dataset at `url`."""
    dataset = Store(url)
    if not dataset.exists("dataset.json"):
        raise AskedWrongly(f"{url}: holds no dataset (no dataset.json). Name a folder that `pairmill curate` wrote.")
    made = json.loads(dataset.read_bytes("dataset.json"))
    funnel = read_funnel(dataset)
    sections = [_funnel_section(made["name"], funnel)]
    if funnel.splits:
        sections += [_shards_section(dataset), _kept_section(dataset)]
    sections += [_dropped_section(dataset), _hosts_section(dataset), _recipe_section(made["recipe"])]
    return sections


def _funnel_section(name: str, funnel: Funnel) -> Section:
    most = max((hop.rows_in for hop in funnel.hops), default=1) or 1
    rows = []
    for hop in funnel.hops:
        rows.append(_funnel_row("kept", hop.name, hop.rows_out, hop.rows_out / most))
        for reason, number in sorted(hop.left.items(), key=lambda item: (-item[1], item[0])):
            rows.append(_funnel_row("left", reason, -number, number / most))
    body = f'<div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div>'
    lead = "What went on from each hop, and why every other row left. Rows in = rows out + rows per reason."
    return Section(name, lead, body)


def _funnel_row(kind: str, name: str, rows: int, share: float) -> str:
    """One bar of the funnel: `kept` for a hop, `left` for a reason."""
    mark, side = ("b", "") if kind == "kept" else ("span", ' class="reason"')
    return (
        f'<tr><td{side}><{mark}>{html.escape(name)}</{mark}></td><td class="n"><{mark}>{rows:,}</{mark}></td>'
        f'<td><div class="bar"><i class="{kind}" style="width:{100 * abs(share):.2f}%"></i></div></td></tr>'
    )


def _shards_section(dataset: Store) -> Section:
    commits = read_commits(dataset, "cut").values()
    rows = []
    for split in sorted({commit.facts["split"] for commit in commits}):
        of_split = [commit for commit in commits if commit.facts["split"] == split]
        size = sum(stamp.bytes for commit in of_split for stamp in commit.files if stamp.name.endswith(".tar"))
        rows.append((split, len(of_split), sum(commit.rows_out for commit in of_split), f"{size / 1e6:,.1f} MB"))
    body = table(("split", "shards", "samples", "bytes"), rows)
    return Section("Shards", "Tar files that webdataset, wids and OpenCLIP read as they are.", body)


def _kept_section(dataset: Store) -> Section:
    figures = []
    for commit in read_commits(dataset, "cut").values():
        with dataset.open(commit.file(".parquet")) as stream:
            index = pq.read_table(stream, columns=["key", "texts", "media_offset", "media_size"])
        for row in index.slice(0, GALLERY - len(figures)).to_pylist():
            media = dataset.read_range(commit.file(".tar"), row["media_offset"], row["media_size"])
            figures.append(_figure(media, " / ".join(text["text"] for text in row["texts"][:2])))
        if len(figures) >= GALLERY:
            break
    return Section("Kept", "The first samples of the shards; their order is already shuffled.", _gallery(figures))


def _dropped_section(dataset: Store) -> Section:
    """Rows that were fetched and then dropped by a rule, a few of each, chosen by their key."""
    found: dict[str, list[str]] = {}
    for part, commit in read_commits(dataset, "judge").items():
        reasons = [reason for reason in commit.counts if not reason.startswith("fetch:")]
        if all(len(found.get(reason, ())) >= DROPPED_PER_REASON for reason in reasons):
            continue
        for reason, media, caption in _dropped_rows(dataset, part, commit.file(".parquet"), reasons):
            figures = found.setdefault(reason, [])
            if len(figures) < DROPPED_PER_REASON:
                figures.append(_figure(media, caption))
    blocks = [f"<h3>{html.escape(reason)}</h3>{_gallery(figures)}" for reason, figures in sorted(found.items())]
    body = "".join(blocks) or "<p>None.</p>"
    return Section("Dropped by rules", "A few rows of each reason, to judge the rule by.", body)


def _dropped_rows(dataset: Store, part: str, verdicts: str, reasons: Sequence[str]) -> Iterator[tuple[str, bytes, str]]:
    with dataset.open(verdicts) as stream:
        dropped_by = pq.read_table(stream, columns=["dropped_by"]).column("dropped_by")
    with dataset.open(f"raw/{part}.parquet") as stream:
        raw = pq.read_table(stream, columns=["key", "texts", "tar_offset", "tar_bytes"])
    for reason in reasons:
        rows = raw.filter(pc.fill_null(pc.equal(dropped_by, reason), False)).to_pylist()
        rows.sort(key=lambda row: key_fraction(row["key"], "gallery"))
        for row in rows[:DROPPED_PER_REASON]:
            media = dataset.read_range(f"raw/{part}.tar", row["tar_offset"], row["tar_bytes"])
            yield reason, media, " / ".join(text["text"] or "" for text in (row["texts"] or [])[:2])


def _hosts_section(dataset: Store) -> Section:
    """Hosts by rows and by what they gave; only hosts, since a URL may carry a secret."""
    tally: dict[str, list[int]] = {}
    for commit in read_commits(dataset, "fetch").values():
        with dataset.open(commit.file(".parquet")) as stream:
            file = pq.ParquetFile(stream)
            if "outcome" not in file.schema_arrow.names:
                raise DatasetError(
                    f"{dataset.url}/{commit.file('.parquet')}: has no column 'outcome', so an earlier pairmill wrote "
                    "it. Run `pairmill fetch` with its recipe, which makes such parts anew."
                )
            table_ = file.read(columns=["url", "outcome"])
        for url, outcome in zip(table_.column("url").to_pylist(), table_.column("outcome").to_pylist(), strict=True):
            counts = tally.setdefault(_host(url), [0, 0, 0])
            counts[0] += 1
            counts[1] += outcome == "success"
            counts[2] += outcome == "opted_out"
    rows = sorted(((host, *counts) for host, counts in tally.items()), key=lambda row: (-row[1], row[0]))[:20]
    return Section("Hosts", "The hosts with the most rows.", table(("host", "rows", "fetched", "opted out"), rows))


def _recipe_section(recipe: dict[str, object]) -> Section:
    text = html.escape(json.dumps(recipe, indent=1, ensure_ascii=False))
    return Section("Recipe", "Every setting that made this dataset.", f"<pre class='scroll'>{text}</pre>")


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or "(none)"
    except ValueError:
        return "(invalid)"


def _gallery(figures: Sequence[str]) -> str:
    return f'<div class="gallery">{"".join(figures)}</div>'


def _figure(media: bytes, caption: str) -> str:
    picture = _thumbnail(media)
    shown = f'<img src="{picture}" alt="">' if picture else ""
    return f"<figure>{shown}<figcaption>{html.escape(caption[:200])}</figcaption></figure>"


def _thumbnail(media: bytes) -> str | None:
    """A small JPEG as a data URL; None where the medium is not an image we stored."""
    try:
        with Image.open(io.BytesIO(media), formats=IMAGE_FORMATS) as image:
            image.draft("RGB", (THUMB_PX, THUMB_PX))
            small = image.convert("RGB")
            small.thumbnail((THUMB_PX, THUMB_PX))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=80)
    except OSError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
