"""The shards as others read them: webdataset's loader and its wids module, from the folder as it is."""

import json
import re
import subprocess
import sys
import warnings

import pytest

from pipeline.shard.card import card
from pipeline.shard.manifest import read_manifest

webdataset = pytest.importorskip("webdataset")
wids = pytest.importorskip("wids")

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}


@pytest.fixture
def sharded(judged):
    judged.shard(**CONFIG)
    return judged


def assert_same(judged, split, found):
    """`found`: key -> (medium, json, txt) as a foreign reader gave them."""
    manifest = read_manifest(judged.dataset)
    assert len(found) == manifest.splits[split].samples
    for key, (medium, sample, text) in found.items():
        assert medium == judged.media[key]
        assert json.loads(sample)["sha256"] == judged.rows[key]["sha256"]
        assert text.decode() == judged.rows[key]["texts"][0]["text"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_webdataset_reads_them(sharded, split):
    shards = read_manifest(sharded.dataset).splits[split].shards
    urls = str(sharded.dataset.local_path(f"shards/{split}/{{00000..{len(shards) - 1:05d}}}.tar"))
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its streams to the garbage collector
        for sample in webdataset.WebDataset(urls, shardshuffle=False):
            assert sample["__key__"] not in found
            found[sample["__key__"]] = (sample["jpg"], sample["json"], sample["txt"])
    assert_same(sharded, split, found)


def test_openclips_steps_read_them(sharded):
    """The steps of OpenCLIP's pipeline up to the decoder: simple shard list, split by node and worker, rename."""
    shards = read_manifest(sharded.dataset).splits["train"].shards
    urls = [str(sharded.dataset.local_path(shard.tar)) for shard in shards]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pipeline = webdataset.DataPipeline(
            webdataset.SimpleShardList(urls),
            webdataset.split_by_node,
            webdataset.split_by_worker,
            webdataset.tarfile_to_samples(),
            webdataset.select(lambda sample: "txt" in sample and "jpg" in sample),
            webdataset.rename(image="jpg;png;jpeg;webp", text="txt", json="json"),
        )
        found = {sample["__key__"]: (sample["image"], sample["json"], sample["text"]) for sample in pipeline}
    assert_same(sharded, "train", found)
    sizes = json.loads(sharded.dataset.read_bytes("shards/train/sizes.json"))
    assert sum(int(sizes[url.rsplit("/", 1)[-1]]) for url in urls) == len(found)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_wids_reads_them(sharded, tmp_path, split):
    index = sharded.dataset.local_path(f"shards/{split}/wids.json")
    dataset = wids.ShardListDataset(str(index), cache_dir=str(tmp_path / "cache"), keep=True, transformations=[])
    found = {}
    for position in range(len(dataset)):
        sample = dataset[position]
        found[sample["__key__"]] = tuple(sample[name].read() for name in (".jpg", ".json", ".txt"))
    dataset.close()
    assert dataset.dataset_name == f"toy-{split}"
    assert_same(sharded, split, found)


def test_the_cards_python_blocks_run(sharded, tmp_path):
    text = card(read_manifest(sharded.dataset))
    blocks = re.findall(r"from (.+?):\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    train = sharded.dataset.local_path("shards/train")
    for where, code in blocks:
        folder = train if "shards/train/" in where else train.parents[1]
        script = f"import os; os.environ['WIDS_CACHE'] = {str(tmp_path)!r}\n{code}"
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert any(key in done.stdout for key in sharded.media)
