"""The dataset card: `shards/README.md`, for whoever finds the folder without its makers.

Takes a manifest and what the run tells of the stages before (`told`, JSON-like, every key of it optional):

    recipe    {name, sha256}                                    lists     [[name, rows, fetched, kept]]
    source    {kind, licence, citation}                         funnel    [[stage, rows in, rows out, {reason: rows}]]
    rules     [[name, condition]]                               policy    {setting: value}
    refused   [[outcome, cause, rows]]                          licences  {name: samples}
    held_over samples of earlier generations that today's verdict would drop

No date is on it: equal datasets have equal cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.words import plain

if TYPE_CHECKING:
    from pipeline.shard.manifest import Generation, Manifest, Split

_SHOWN = 50
_LAYOUT = """\
Each sample is `KEY.jpg` (or the extension of its type), `KEY.json` (source, URL, sizes, texts, weight) and
`KEY.txt` (its first text), side by side in one tar. Beside each tar lies a parquet index with the byte range and the
sha256 of every sample, and with the raw part that it came from (`raw_part`). `manifest.json` names all shards with
their sha256.
"""
_CHECKING = """\
`pairmill verify FOLDER`, for the folder that holds `shards/`, reads every byte again and names what is not as it was
published.
"""
_READING = """\
With pairmill, from the folder that holds `shards/`:

```python
from pipeline.shard.reader import ShardReader
reader = ShardReader(".", split="{split}")
for example in reader.share(seed=0, epoch=0):
    print(example.key, example.mime, example.texts)
```

With webdataset, from `shards/{split}/`:

```python
import webdataset
for sample in webdataset.WebDataset("{braces}", shardshuffle=False):
    print(sample["__key__"], sample["txt"].decode())
```

With wids, from `shards/{split}/`:

```python
import wids
dataset = wids.ShardListDataset("wids.json", base=".", keep=True, transformations=[])
print(dataset[0]["__key__"])
```

With OpenCLIP, from `shards/{split}/`:

```sh
python -m open_clip_train.main --dataset-type webdataset --train-data "{braces}" --train-num-samples {samples}
```
"""


def card(manifest: Manifest, told: Mapping[str, Any] | None = None) -> str:
    """The card as Markdown."""
    told = told or {}
    sections = {
        "Splits": _splits(manifest),
        "Generations": _generations(manifest.generations),
        "Layout": _LAYOUT,
        "Where it comes from": _provenance(manifest, told),
        "What became of the list": _funnel(told),
        "Rules": _table(["a row is dropped as", "unless"], told.get("rules", ())),
        "Licences": _licences(manifest, told.get("licences", {})),
        "Asked not to be taken": _refusals(told),
        "Reading": _reading(manifest),
        "Checking": _CHECKING,
    }
    text = "".join(f"\n## {title}\n\n{body}" for title, body in sections.items() if body)
    return f"{_metadata(manifest)}\n# {manifest.name}\n\n{_lead(manifest)}\n{text}"


def _metadata(manifest: Manifest) -> str:
    """What the Hugging Face hub reads of a card: which tars are which split."""
    lines = [f'  - split: {name}\n    path: "{name}/*.tar"' for name in manifest.splits]
    return "\n".join(["---", "configs:", "- config_name: default", "  data_files:", *lines, "---", ""])


def _lead(manifest: Manifest) -> str:
    if manifest.sources:
        return "Pairs of media and texts in WebDataset tars, merged by pairmill from the datasets named below."
    law = ""
    for last in manifest.generations[-1:]:
        limits = [f"{last.samples:,} samples"] if last.samples else []
        limits += [f"at most {last.bytes:,} bytes"] if last.bytes else []
        law = f" of {' and '.join(limits)}, shuffled over the whole dataset (seed {last.seed})"
    return f"Pairs of media and texts in WebDataset tars{law}. Made by pairmill."


def _splits(manifest: Manifest) -> str:
    rows = [
        (name, split.samples, len(split.shards), f"{split.bytes / 1e6:,.1f}")
        for name, split in manifest.splits.items()
    ]
    fractions = [
        f"{fraction:g} of the samples whose list names no split are `{name}`, by a hash of their key"
        for generation in manifest.generations[-1:]
        if not manifest.sources
        for name, fraction in sorted(generation.splits.items())
    ]
    said = f"\n{'; '.join(fractions)}. Adding data moves no sample to another split.\n" if fractions else ""
    return _table(["split", "samples", "shards", "MB"], rows) + said


def _generations(generations: Sequence[Generation]) -> str:
    if len(generations) < 2:
        return ""
    rows = [
        (number, item.dataset or "", item.seed, ", ".join(f"{name} {count:,}" for name, count in item.shards.items()))
        for number, item in enumerate(generations)
    ]
    lead = "Shards were cut in these turns, each shuffled in itself; those of a split follow one another.\n\n"
    return lead + _table(["generation", "of dataset", "seed", "shards"], rows)


def _provenance(manifest: Manifest, told: Mapping[str, Any]) -> str:
    facts = [(name, told["source"][key]) for key, name in _SOURCE.items() if told.get("source", {}).get(key)]
    if "recipe" in told:
        facts.append(("recipe", f"`{told['recipe']['name']}`, sha256 `{told['recipe']['sha256']}`"))
    parts = [_table(["", ""], facts), _table(["list", "rows", "fetched", "kept"], told.get("lists", ()))]
    merged = [(item.name, item.samples, f"`{item.fingerprint}`") for item in manifest.sources]
    parts.append(_table(["dataset", "samples", "sha256 of its manifest"], merged))
    return "\n".join(filter(None, parts))


_SOURCE = {"kind": "kind of list", "licence": "licence of the list", "citation": "published in"}


def _funnel(told: Mapping[str, Any]) -> str:
    rows = []
    for stage, rows_in, rows_out, left in told.get("funnel", ()):
        rows.append((stage, rows_in, rows_out, ""))
        reasons = sorted(left.items(), key=lambda item: (-item[1], item[0]))
        rows += [("", "", "", f"{count:,} {reason}") for reason, count in reasons]
    table = _table(["stage", "rows in", "rows out", "left, by reason"], rows)
    held = told.get("held_over")
    return table + (f"\n{held:,} samples of earlier generations would not be kept today; they stay.\n" if held else "")


def _licences(manifest: Manifest, licences: Mapping[str, int]) -> str:
    counted = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    rows = counted[:_SHOWN]
    rest = sum(samples for _, samples in counted[_SHOWN:])
    rows += [(f"({len(counted) - _SHOWN} others)", rest)] if rest else []
    unknown = manifest.samples - sum(licences.values())
    rows += [("not stated", unknown)] if unknown > 0 else []
    lead = "As the list states them, sample by sample. Media keep their owners' terms, whatever a list says.\n\n"
    return lead + _table(["licence", "samples"], rows)


def _refusals(told: Mapping[str, Any]) -> str:
    policy = "".join(f"- `{name}` = {_cell(value)}\n" for name, value in sorted(told.get("policy", {}).items()))
    table = _table(["outcome", "cause", "rows"], told.get("refused", ()))
    none = "No row was opted out, block-listed or deferred.\n" if "refused" in told and not table else ""
    return "\n".join(filter(None, [policy, table or none]))


def _reading(manifest: Manifest) -> str:
    name = "train" if "train" in manifest.splits else next(iter(manifest.splits))
    split = manifest.splits[name]
    return _READING.format(split=name, braces=_braces(split), samples=split.samples)


def _braces(split: Split) -> str:
    first, last = (split.shards[i].name.rsplit("/", 1)[-1].removesuffix(".tar") for i in (0, -1))
    return f"{first}.tar" if first == last else f"{{{first}..{last}}}.tar"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    lines = [list(head), ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value: Any) -> str:
    """A value as it may stand in a table: no word of a list ends its cell, or becomes markup."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return plain(str(value), 400).replace("|", "\\|").replace("<", "&lt;")
