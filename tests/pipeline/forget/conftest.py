"""A small curated dataset whose every sample has a medium, a caption and an address that occur nowhere else."""

import importlib.util
import io
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.quickstart.scenes import draw_scene
from cluster.quickstart.web import LocalWeb, Page
from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.recipe import load
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)
ROWS = 48
STEPS = (  # every kind of table that a global step leaves behind
    "score.phash={}", "score.near_duplicates={}", "score.text_duplicates={threshold = 0.3}",
    'score.semantic={scorer = "clip"}',
)  # fmt: skip


@pytest.fixture(scope="session")
def web():
    """Pages of one picture each; every tenth address is dead."""
    pages = {f"p/{n:03d}.jpg": Page(draw_scene(n).jpeg, "missing" if n % 10 == 9 else "none") for n in range(2 * ROWS)}
    with LocalWeb(pages) as served:
        yield served


@dataclass
class World:
    """A list, the recipe that curates it, and what each row of the list says. `folder` holds the list."""

    folder: Path
    web: LocalWeb
    more: tuple[str, ...] = ()
    dataset: Path | None = None

    def caption(self, n):
        return f"a scene called zq{n:03d}x with number {n}"

    def url(self, n):
        """Every sixth row is of another host."""
        base = self.web.url.replace("127.0.0.1", "localhost") if n % 6 == 5 else self.web.url
        return f"{base}/p/{n:03d}.jpg"

    def write_list(self, numbers=range(ROWS), name="list.tsv"):
        lines = (f"{self.caption(n)}\t{self.url(n)}\n" for n in numbers)
        (self.folder / name).write_text("".join(lines), "utf-8")

    def recipe(self, *overrides, dataset=None):
        port = self.web.url.rsplit(":", 1)[1]
        settings = [
            f"dataset={dataset or self.dataset or self.folder / 'dataset'}", f"source.path={self.folder / 'list.tsv'}",
            "ingest.partition_rows=12", "shard.samples=8", f"fetch.ports=[{port}]",
            'fetch.allow_private=["127.0.0.1/32", "::1/128"]', "fetch.retries=0", "fetch.per_host=16",
            "image.size_px=64", "shard.splits={validation = 0.2}", "verdict.rules=[]",
        ]  # fmt: skip
        return load(DatasetRecipe, "quickstart", [*settings, *self.more, *overrides], package="pipeline")

    def curate(self, *overrides, dataset=None, until="shard"):
        """Curate; gives the dataset."""
        made = self.recipe(*overrides, dataset=dataset)
        curate(made, PROCESS, until=until)
        return Store(made.dataset)


@pytest.fixture
def world(web, tmp_path):
    made = World(tmp_path, web)
    made.write_list()
    return made


@pytest.fixture(scope="session")
def plain_world(web, tmp_path_factory):
    """A curated dataset to take copies of."""
    made = World(tmp_path_factory.mktemp("plain"), web)
    made.write_list()
    made.curate()
    return made


@pytest.fixture(scope="session")
def full_world(web, tmp_path_factory):
    """One with every scorer and step that leaves something behind."""
    path = Path(__file__).parents[1] / "filter" / "scorers" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clip = tmp_path_factory.mktemp("clip")
    module.save_tiny(clip, "clip")
    made = World(tmp_path_factory.mktemp("full"), web, (f'score.clip={{checkpoint = "{clip}"}}', *STEPS))
    made.write_list()
    made.curate()
    return made


@pytest.fixture
def copy_of(tmp_path):
    """A world -> a copy of it, with its dataset, that may be changed."""

    def copied(world):
        copy = tmp_path / "copy"
        shutil.copytree(world.folder / "dataset", copy)
        card = (copy / "dataset.json").read_text().replace(str(world.folder / "dataset"), str(copy))
        (copy / "dataset.json").write_text(card)
        return replace(world, dataset=copy), Store(str(copy))

    return copied


def raw_rows(dataset):
    """All rows of the raw records, in order, with their place and the bytes of their medium."""
    found = []
    for commit in read_commits(dataset, "fetch").values():
        tar = dataset.read_bytes(commit.file(".tar"))
        table = pq.read_table(io.BytesIO(dataset.read_bytes(commit.file(".parquet"))))
        for number, row in enumerate(table.to_pylist()):
            start = row["tar_offset"]
            media = None if start is None else tar[start : start + row["tar_bytes"]]
            found.append({**row, "part": commit.part, "row": number, "media": media})
    return found


def all_files(dataset):
    """Name -> bytes of every file of a dataset."""
    root = dataset.root
    return {path.removeprefix(f"{root}/"): dataset.fs.cat_file(path) for path in sorted(dataset.fs.find(root))}


def said_by(dataset):
    """(name of a file, bytes that it says): as it lies, and every column of a table decoded."""
    for name, data in all_files(dataset).items():
        yield name, data
        if name.endswith(".parquet"):
            for column in pq.read_table(io.BytesIO(data)).columns:
                yield name, repr(column.to_pylist()).encode()
                for chunk in column.chunks:
                    yield from ((name, buffer.to_pybytes()) for buffer in chunk.buffers() if buffer is not None)


def files_that_say(dataset, needles):
    """needle -> names of the files that say it anywhere."""
    found = {needle: set() for needle in needles}
    for name, said in said_by(dataset):
        for needle, names in found.items():
            if needle in said:
                names.add(name)
    return found


def samples_of(dataset):
    """key -> (shard, row, index row) of every sample in the shards, in the order of the manifest."""
    found = {}
    manifest = json.loads(dataset.read_bytes("shards/manifest.json"))
    for split in manifest["splits"].values():
        for entry in split["shards"]:
            name = f"shards/{entry['name'].removesuffix('.tar')}.parquet"
            rows = pq.read_table(io.BytesIO(dataset.read_bytes(name))).to_pylist()
            found |= {row["key"]: (entry["name"], number, row) for number, row in enumerate(rows)}
    return found
