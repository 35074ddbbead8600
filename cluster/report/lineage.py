"""Where a dataset comes from and what made it: lists, stages with their settings' digests, shards with their hashes."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.report.folder import Folder
from cluster.report.hops import size_of, tar_bytes
from cluster.report.rights import list_paths, moment
from cluster.report.section import Cell, Section, pairs, table
from pipeline.commit import Commit
from pipeline.errors import DatasetError
from pipeline.filter.scorers import SCORERS
from pipeline.filter.verdicts.verdict import JudgeStage
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.read import Ingest
from pipeline.recipe import digest_of
from pipeline.shard.cut import Cut
from pipeline.shard.manifest import Manifest, read_manifest
from pipeline.shard.order import Order, Sort
from pipeline.shard.plan import Plan
from pipeline.shard.publish import Publish
from pipeline.words import location, plain, without_secrets

SHARDS_SHOWN = 12
LISTS_SHOWN = 20
_DIGITS = 16
_TABLES = {
    "ingest": ("source", "ingest"),
    "fetch": ("fetch", "image", "media"),
    "judge": ("verdict",),
    "order": ("shard",),
    "sort": ("shard",),
    "cut": ("shard",),
    "manifest": ("name", "shard"),
}
"""Stage -> the tables of the recipe that decide its output; those of a scorer are found by its name."""


def shards_section(folder: Folder) -> Section:
    """Splits, and the shards with their sha256."""
    if not folder.cut:
        body = "<p>No shards have been cut yet: <code>pairmill shard RECIPE</code> cuts them.</p>"
        return Section("Shards", "", body)
    by_split: dict[str, list[Commit]] = {}
    for commit in folder.cut.values():
        by_split.setdefault(str(commit.facts.get("split")), []).append(commit)
    rows = []
    for split, commits in sorted(by_split.items()):
        size = Cell(size_of(tar_bytes(commits)), "n")
        rows.append((plain(split), len(commits), sum(commit.rows_out for commit in commits), size))
    body = table(("split", "shards", "samples", "size"), rows)
    return Section("Shards", "Tar files that webdataset, wids and OpenCLIP read as they are.", body)


def lineage_section(folder: Folder, run_folder: str | None, first: Any, last: Any) -> Section:
    """Lists to stages to shards to the training run."""
    manifest = _manifest(folder)
    facts = [
        ("report written by", f"pairmill {_version()}"),
        ("media fetched", f"{moment(first)} to {moment(last)}" if first is not None else "not recorded"),
        ("recipe", f"sha256 {digest_of(dict(folder.recipe))}"),
    ]
    if manifest is not None:
        facts.append(("manifest", f"sha256 {manifest.fingerprint()}"))
    blocks = [pairs(facts), "<h3>Lists</h3>", _lists(folder), "<h3>Stages</h3>", _stages(folder)]
    if manifest is not None:
        blocks += ["<h3>Shards</h3>", _shards(manifest)]
    if run_folder is not None:
        blocks += ["<h3>Training run</h3>", _run(Path(run_folder), manifest)]
    lead = "A part is made anew when its “made by” changes: a hash of its stage, version, settings and inputs."
    return Section("Lineage", lead, "".join(blocks))


def recipe_section(folder: Folder) -> Section:
    """All settings, without what may be a secret."""
    text = html.escape(json.dumps(without_secrets(folder.recipe), indent=1, ensure_ascii=False, sort_keys=True))
    body = f'<pre class="scroll tall" tabindex="0" role="region" aria-label="The recipe">{text}</pre>'
    return Section("Recipe", "Every setting that made this dataset; of URLs, the host.", body)


def _lists(folder: Folder) -> str:
    listed = folder.commits("ingest")
    named = ", ".join(f"<code>{html.escape(path)}</code>" for path in list_paths(folder.recipe)[:LISTS_SHOWN])
    rows = [
        (_list_of(commit), commit.rows_out, len(commit.files), _hash(_content(commit)), _hash(commit.made_by))
        for commit in list(listed.values())[:LISTS_SHOWN]
    ]
    more = f"<p>and {len(listed) - LISTS_SHOWN:,} more.</p>" if len(listed) > LISTS_SHOWN else ""
    if not rows:
        return f"<p>{named}: not read yet.</p>"
    heads = ("file of the list", "rows", "parts", "content", "made by")
    return f"<p>Read from {named}.</p>{table(heads, rows, name='lists')}{more}"


def _list_of(commit: Commit) -> str:
    """Where the list lay when it was read; its number in a record that an earlier pairmill wrote."""
    place = commit.facts.get("list")
    return location(place) if isinstance(place, str) else plain(commit.part)


def _stages(folder: Folder) -> str:
    rows = []
    for stage in _ordered(folder.stages):
        commits = folder.commits(stage)
        if commits:
            settings = _settings(stage, folder.recipe)
            rows.append((
                plain(stage), version_of(stage), len(commits), sum(commit.rows_in for commit in commits.values()),
                sum(commit.rows_out for commit in commits.values()), "" if settings is None else _hash(settings),
                _hash(_together(commit.made_by for commit in commits.values())),
                _hash(_together(_content(commit) for commit in commits.values())),
            ))  # fmt: skip
    if not rows:
        return "<p>No stage has run yet.</p>"
    heads = ("stage", "version", "parts", "rows in", "rows out", "settings", "made by", "content")
    words = "Versions are those of this pairmill; hashes stand for all parts of a stage together."
    return f'<p class="lead">{words}</p>{table(heads, rows, name="stages")}'


def version_of(stage: str) -> str:
    """The version that a stage has in this pairmill; none for a step that is no stage of its own."""
    stages = {one.name: one.version for one in (Ingest, Fetch, JudgeStage, Order, Sort, Plan, Cut, Publish)}
    scorer = stage.removeprefix("score-")
    if stage.startswith("score-") and scorer in SCORERS:
        return str(getattr(SCORERS[scorer], "version", ""))
    return str(stages.get(stage, ""))


def _ordered(stages: Iterable[str]) -> list[str]:
    """Stages in the order of a run: scorers between fetch and judge."""
    order = ("ingest", "fetch", "retry", "", "judge", "order", "taken", "sort", "plan", "cut", "survey", "manifest")

    def place(stage: str) -> tuple[int, str]:
        return (order.index(stage) if stage in order else order.index(""), stage)

    return sorted(stages, key=place)


def _settings(stage: str, recipe: Mapping[str, Any]) -> str | None:
    """Digest of the tables of the recipe that belong to a stage; None where no table is its own."""
    scores = recipe.get("score")
    scorer = stage.removeprefix("score-")
    if stage.startswith("score-") and isinstance(scores, Mapping):
        models = scores.get("models")
        table_ = scores.get(scorer, models.get(scorer) if isinstance(models, Mapping) else None)
        return None if table_ is None else digest_of(table_)
    names = _TABLES.get(stage)
    return None if names is None else digest_of([recipe.get(name) for name in names])


def _shards(manifest: Manifest) -> str:
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    shown = entries if len(entries) <= SHARDS_SHOWN else [*entries[: SHARDS_SHOWN - 2], *entries[-2:]]
    rows = [(entry.name, entry.samples, Cell(size_of(entry.bytes), "n"), _hash(entry.sha256, 64)) for entry in shown]
    more = len(entries) - len(shown)
    rest = f"<p>{more:,} shards between are not shown; shards/manifest.json names all.</p>" if more else ""
    return table(("shard", "samples", "size", "sha256"), rows, name="shards") + rest


def _run(folder: Path, manifest: Manifest | None) -> str:
    """What the run says it was trained on, and whether these shards are that."""
    try:
        said = json.loads((folder / "lineage.json").read_text("utf-8"))
        trained_on = str(said["manifest_sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return f"<p>{html.escape(plain(folder.name))}: does not say which shards it was trained on.</p>"
    is_this = manifest is not None and manifest.fingerprint() == trained_on
    facts = [
        ("run", plain(folder.name)),
        ("trained on", "these shards" if is_this else "other shards than these"),
        ("their manifest", f"sha256 {plain(trained_on, 80)}"),
    ]
    return pairs(facts)


def _manifest(folder: Folder) -> Manifest | None:
    if not folder.cut:
        return None
    try:
        return read_manifest(folder.dataset)
    except DatasetError as error:
        folder.note(f"The shards have no manifest that can be read: {error}")
        return None


def _hash(digest: str, digits: int = _DIGITS) -> Cell:
    return Cell(f"<code>{html.escape(digest[:digits])}</code>")


def _content(commit: Commit) -> str:
    return digest_of(sorted([stamp.name, stamp.sha256] for stamp in commit.files))


def _together(digests: Iterable[str]) -> str:
    return digest_of(sorted(digests))


def _version() -> str:
    try:
        return version("pairmill")
    except PackageNotFoundError:
        return "(not installed)"
