"""Datasets with masks, from a folder or a web to shards: as readers get them, retried, and proven."""

import dataclasses
import io
import tarfile
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, check_recipe, curate, retry
from pipeline.engine import EngineConfig
from pipeline.errors import RecipeError, RunFailed
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.sources.folder import Folder
from pipeline.ingest.sources.rows import RowCompanion
from pipeline.recipe import load
from pipeline.record import SHARD_INDEX, SHARD_INDEX_COMPANIONS
from pipeline.shard.reader import ReaderConfig, ShardReader
from pipeline.shard.verify import verify
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)


def png(seed, size=(40, 30)):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 150, size[::-1]).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def photo(seed, size=(400, 300)):
    pixels = np.random.default_rng(seed).integers(0, 255, (3, 4, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def ade(tmp_path):
    """Nine photos laid out as ADE20K's, photo i with i % 3 masks of parts; gives role -> bytes by photo."""
    folder = tmp_path / "ade" / "training" / "street"
    folder.mkdir(parents=True)
    masks = {}
    for i in range(9):
        stem = f"ADE_train_{i:08d}"
        (folder / f"{stem}.jpg").write_bytes(photo(i))
        masks[stem] = [("segmentation", png(i)), *(("parts", png(100 * (k + 1) + i)) for k in range(i % 3))]
        for name, (_, data) in zip(("seg", "parts_1", "parts_2"), masks[stem], strict=False):
            (folder / f"{stem}_{name}.png").write_bytes(data)
    return masks


@pytest.fixture
def recipe(tmp_path):
    """Call with a built-in recipe and overrides."""
    def make(builtin, folder, *overrides, name="ds"):
        settings = [
            f"dataset={tmp_path / name}", f"source.path={folder}", f'fetch.allow_folders=["{folder}"]',
            "ingest.partition_rows=4", "shard.samples=4", "image.size_px=64",
        ]  # fmt: skip
        return load(DatasetRecipe, builtin, [*settings, *overrides], package="pipeline")

    return make


@pytest.fixture
def ade_recipe(recipe, tmp_path):
    lists = f'source.lists=[{{ path = "{tmp_path}/ade/training", split = "train" }}]'
    return lambda *more: load(
        DatasetRecipe, "ade20k",
        [f"dataset={tmp_path / 'ds'}", lists, f'fetch.allow_folders=["{tmp_path}/ade"]', "ingest.partition_rows=4",
         "shard.samples=4", "image.size_px=64", *more],
        package="pipeline",
    )  # fmt: skip


def tars_of(dataset):
    return [dataset.local_path(f"shards/train/{name}") for name in dataset.list("shards/train", ".tar")]


def test_ade20k_from_its_folder_to_readers(ade, ade_recipe):
    made = ade_recipe()
    curate(made, PROCESS)
    dataset = Store(made.dataset)
    assert verify(dataset) == []
    reader = ShardReader(made.dataset)
    stems = {}
    for tar in tars_of(dataset):
        index = pq.read_table(str(tar).replace(".tar", ".parquet"))
        assert index.schema.equals(SHARD_INDEX_COMPANIONS)
        stems |= {row["key"]: row["source_id"].rpartition("/")[2].partition(".")[0] for row in index.to_pylist()}
    examples = reader.read(range(9))
    assert {stems[item.key]: list(item.companions) for item in examples} == ade
    without = ShardReader(made.dataset, config=ReaderConfig(companions="skip")).read(range(9))
    assert [(item.key, item.media, item.companions) for item in without] == [(e.key, e.media, ()) for e in examples]
    ends = ("segmentation.png", "parts.png", "parts.2.png")
    seen = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its streams to the garbage collector
        for sample in webdataset.WebDataset([str(tar) for tar in tars_of(dataset)], shardshuffle=False):
            seen[stems[sample["__key__"]]] = [sample[end] for end in ends if end in sample]
            assert {"jpg", "json", "txt"} < sample.keys()
    assert seen == {stem: [data for _, data in items] for stem, items in ade.items()}
    with tarfile.open(tars_of(dataset)[0]) as archive:
        names = [name.split(".", 1)[1] for name in archive.getnames()]
    assert set("|".join(names).removesuffix("|txt").split("|txt|")) <= {
        "|".join(["jpg", *ends[: 1 + parts], "json"]) for parts in range(3)
    }


def test_an_altered_byte_of_a_mask_is_found(ade, ade_recipe):
    made = ade_recipe()
    curate(made, PROCESS)
    dataset, tar = Store(made.dataset), tars_of(Store(made.dataset))[1]
    item = pq.read_table(str(tar).replace(".tar", ".parquet"))["companions"].to_pylist()[2][0]
    data = bytearray(tar.read_bytes())
    data[item["offset"] + item["size"] // 2] ^= 1
    tar.write_bytes(data)
    problems = verify(dataset)
    name = f"shards/train/{tar.name}"
    assert [problem.part for problem in problems] == [name, f"{name}:{item['member']}"]
    assert problems[1].wanted == f"sha256 {item['sha256'][:16]}"


def test_an_altered_mask_of_a_raw_part_is_not_sharded(ade, ade_recipe):
    made = ade_recipe()
    curate(made, PROCESS, until="judge")
    dataset = Store(made.dataset)
    item = pq.read_table(dataset.local_path("raw/00001.parquet"))["stored_companions"].to_pylist()[0][0]
    with dataset.local_path("raw/00001.tar").open("r+b") as stream:
        stream.seek(item["offset"] + 60)
        stream.write(b"\0\1\2\3")
    with pytest.raises(RunFailed, match=r"raw/00001.tar:.*segmentation.png: altered"):
        curate(made, PROCESS)


def test_shards_without_companions_have_the_index_of_before(ade, recipe, tmp_path):
    made = recipe("folder", tmp_path / "ade", 'fetch.companions="ignore"')
    curate(made, PROCESS)
    dataset = Store(made.dataset)
    for split in dataset.folders("shards"):
        for name in dataset.list(f"shards/{split}", ".parquet"):
            assert pq.read_schema(dataset.local_path(f"shards/{split}/{name}")).equals(SHARD_INDEX)
    assert ShardReader(made.dataset).read([0])[0].companions == ()


def test_a_role_has_to_fit_into_a_name(recipe, tmp_path):
    with pytest.raises(RecipeError, match="role"):
        recipe("folder", tmp_path, 'source.companions=[{ role = "a.b", path = "{stem}.png" }]')


def test_img2dataset_refuses_them_before_any_work(ade, recipe, tmp_path):
    more = [f'fetch.{item}="ignore"' for item in ("robots", "policy")]
    more += ['fetch.engine="img2dataset"', 'fetch.allow_private=["0.0.0.0/0", "::/0"]', "fetch.allow_folders=[]"]
    more += ['source.companions=[{ role = "seg", path = "{stem}_seg.png" }]']
    with pytest.raises(RecipeError, match=r"fetch\.companions: it fetches one file per row"):
        check_recipe(recipe("folder", tmp_path / "ade", *more))


@pytest.fixture
def web_of_masks(web, monkeypatch, tmp_path):
    """A folder whose photos have their masks on a web: mask 1 answers 503 until `cured`, mask 5 is gone for good."""
    folder = tmp_path / "photos"
    folder.mkdir()
    state = {"cured": False}
    for i in range(8):
        (folder / f"{i}.jpg").write_bytes(photo(i))

        async def page(request, writer, i=i):
            if i == 5 or (i == 1 and not state["cured"]):
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % (b"404 Gone" if i == 5 else b"503 Busy"))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(png(i)) + png(i))

        web.pages[f"/mask/{i}"] = page
    web.pages["/all"] = png(99)
    plain = Folder.rows

    def rows(self, file):
        for row in plain(self, file):
            number = row.url.rpartition("/")[2].partition(".")[0]
            urls = ("all", web.url("/all")), ("seg", web.url(f"/mask/{number}"))
            yield dataclasses.replace(row, companions=[RowCompanion(*item) for item in urls])

    monkeypatch.setattr(Folder, "rows", rows)
    state["folder"] = folder
    return state


def masks_of(dataset_url):
    found = {}
    for split in Store(dataset_url).folders("shards"):
        reader = ShardReader(dataset_url, split)
        for example in reader.read(range(len(reader))):
            found[example.key] = dict(example.companions)
    return found


@pytest.mark.parametrize("policy", ["drop_row", "keep_row"])
def test_retry_asks_for_the_mask_that_may_have_come_back(web, web_of_masks, recipe, policy):
    open_web = [f"fetch.ports=[{web.port}]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.retries=0"]
    open_web += ['fetch.robots="ignore"', 'fetch.tdmrep="ignore"', f'fetch.companions="{policy}"']
    made = recipe("folder", web_of_masks["folder"], *open_web)
    curate(made, PROCESS)
    before = masks_of(made.dataset)
    assert len(before) == (8 if policy == "keep_row" else 6)
    assert sum("seg" in items for items in before.values()) == 6
    assert all(items["all"] == png(99) for items in before.values())
    web_of_masks["cured"], asked = True, len(web.seen)
    assert retry(made.dataset, PROCESS).tried == {"http_5xx": 1}
    again = [request.path for request in web.seen[asked:]]
    assert sorted(again) == (["/mask/1"] if policy == "keep_row" else ["/all", "/mask/1"])
    curate(made, PROCESS)
    after = masks_of(made.dataset)
    assert len(after) == (8 if policy == "keep_row" else 7)
    assert sum("seg" in items for items in after.values()) == 7
    assert {key: after[key] | items for key, items in before.items()} == {key: after[key] for key in before}
    assert verify(Store(made.dataset)) == []
    assert retry(made.dataset, PROCESS).tried == {}
    healthy = recipe("folder", web_of_masks["folder"], *open_web, name="healthy")
    curate(healthy, PROCESS)
    assert masks_of(healthy.dataset) == after
    assert _tars(healthy.dataset) == _tars(made.dataset)
    facts = [commit.facts for commit in read_commits(Store(made.dataset), Fetch.name).values()]
    assert facts == [commit.facts for commit in read_commits(Store(healthy.dataset), Fetch.name).values()]
    assert ({"lost_companions": {"http_404": 1}} in facts) == (policy == "keep_row")


def _tars(dataset_url):
    dataset = Store(dataset_url)
    return {name: dataset.read_bytes(f"raw/{name}") for name in dataset.list("raw", ".tar")}


REAL = {
    "camvid": ("masks/camvid_0006R0/images", "../masks/{stem}*.png"),
    "davis": ("masks/davis_car_shadow/JPEGImages", "../../../Annotations/480p/car-shadow/{stem}.png"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_masks(real_data, recipe, name):
    folder, pattern = real_data / REAL[name][0], REAL[name][1]
    companions = f'source.companions=[{{ role = "segmentation", path = "{pattern}" }}]'
    made = recipe("folder", folder, companions, f'fetch.allow_folders=["{real_data}/masks"]', "shard.splits={}",
                  "ingest.partition_rows=40", "shard.samples=60")  # fmt: skip
    curate(made, PROCESS)
    assert verify(Store(made.dataset)) == []
    reader = ShardReader(made.dataset)
    photos = sorted(folder.rglob("*.jpg"))
    masks = sorted(path.read_bytes() for path in (real_data / "masks").rglob("*.png") if name in str(path))
    examples = reader.read(range(len(reader)))
    assert len(examples) == len(photos) == len(masks)
    assert sorted(data for item in examples for _, data in item.companions) == masks
    for item in examples[:5]:
        ((role, data),) = item.companions
        assert role == "segmentation"
        width, height = Image.open(io.BytesIO(data)).size
        assert abs(item.width / item.height - width / height) < 0.02
