"""The dataset card: `shards/README.md`, for whoever finds the folder without its makers.

Takes a manifest and a funnel; says what the dataset holds, how many rows each stage let through, and how to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.shard.manifest import Manifest, Split

_LAYOUT = """\
Each sample is `KEY.jpg` (or the extension of its type), `KEY.json` (source, URL, sizes, texts, weight) and
`KEY.txt` (its first text), side by side in one tar. Beside each tar lies a parquet index with the byte range of
every sample. `manifest.json` names all shards with their sha256.
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


def card(manifest: Manifest, funnel: Sequence[Sequence[object]] = ()) -> str:
    """The card as Markdown; `funnel` has rows of (stage, rows in, rows out)."""
    splits = [
        [name, f"{split.samples:,}", f"{len(split.shards):,}", f"{split.bytes / 1e6:,.1f}"]
        for name, split in manifest.splits.items()
    ]
    rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in funnel]
    parts = [
        f"# {manifest.name}\n",
        f"Pairs of media and texts in WebDataset tars of {manifest.samples_per_shard:,} samples, shuffled over the "
        f"whole dataset (seed {manifest.seed}). Made by pairmill.\n",
        "## Splits\n",
        _table(["split", "samples", "shards", "MB"], splits),
        "## Layout\n",
        _LAYOUT,
    ]
    if rows:
        parts += ["## What became of the list\n", _table(["stage", "rows in", "rows out"], rows)]
    name, split = _shown(manifest)
    reading = _READING.format(split=name, braces=_braces(split), samples=split.samples)
    return "\n".join([*parts, "## Reading\n", reading])


def _shown(manifest: Manifest) -> tuple[str, Split]:
    name = "train" if "train" in manifest.splits else next(iter(manifest.splits))
    return name, manifest.splits[name]


def _braces(split: Split) -> str:
    first, last = (split.shards[i].name.rsplit("/", 1)[-1].removesuffix(".tar") for i in (0, -1))
    return f"{first}.tar" if first == last else f"{{{first}..{last}}}.tar"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
