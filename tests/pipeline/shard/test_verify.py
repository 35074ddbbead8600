"""Each kind of damage is found, named with its part, and told what to do about it; a whole dataset has no problem."""

import dataclasses
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import stamp_of
from pipeline.engine import Engine, EngineConfig, ray_session
from pipeline.record import SHARD_INDEX
from pipeline.shard.manifest import indexes_beside, read_manifest
from pipeline.shard.verify import verify
from pipeline.store import Store
from pipeline.tar import TarWriter, read_members

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}
TAR = "shards/train/00001.tar"
AGAIN = "Delete commits/cut/train-00001.json and run again; only that part is made anew."


@pytest.fixture
def sharded(judged):
    judged.shard(**CONFIG)
    return judged


def path_of(judged, name):
    return judged.dataset.local_path(name)


def told(problems):
    return [(problem.part, problem.found, problem.remedy) for problem in problems]


def members_of(path):
    with path.open("rb") as stream:
        return list(read_members(stream))


def forge(judged, name):
    """Make commits, manifest and all that follows from it agree with the changed file `name`, as a forger would."""
    stamp = stamp_of(name, path_of(judged, name))
    forge_commit(judged, f"cut/{name.split('/')[1]}-{name.split('/')[2][:5]}", [name])
    manifest_path = path_of(judged, "shards/manifest.json")
    manifest = json.loads(manifest_path.read_text())
    for split in manifest["splits"].values():
        for entry in split["shards"]:
            if f"shards/{entry['name']}" == name:
                entry.update(bytes=stamp.bytes, sha256=stamp.sha256)
            if f"shards/{entry['name'][:-4]}.parquet" == name:
                entry["index_sha256"] = stamp.sha256
        split["bytes"] = sum(entry["bytes"] for entry in split["shards"])
    manifest_path.write_text(json.dumps(manifest))
    beside = indexes_beside(read_manifest(judged.dataset))
    for path, data in beside.items():
        path_of(judged, path).write_bytes(data)
    forge_commit(judged, "manifest/all", ["shards/manifest.json", *beside])


def forge_commit(judged, record, names):
    path = path_of(judged, f"commits/{record}.json")
    stamps = {name: dataclasses.asdict(stamp_of(name, path_of(judged, name))) for name in names}
    commit = json.loads(path.read_text())
    commit["files"] = [stamps.get(old["name"], old) for old in commit["files"]]
    path.write_text(json.dumps(commit))


def rewrite(judged, name, change):
    """Write a tar anew with the members that `change(members as (name, bytes))` gives."""
    path = path_of(judged, name)
    data, members = path.read_bytes(), members_of(path)
    with TarWriter(path) as tar:
        tar.add_all(change([(item.name, data[item.data_offset :][: item.data_size]) for item in members]))


def write_rows(judged, name, rows):
    """Write an index anew, with the metadata that it had."""
    path = path_of(judged, name)
    schema = SHARD_INDEX.with_metadata(pq.read_schema(path).metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def test_a_whole_dataset_has_no_problem(sharded):
    assert verify(sharded.dataset) == []


def test_a_tar_cut_at_a_byte(sharded):
    path = path_of(sharded, TAR)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:5000])
    problems = verify(sharded.dataset)
    assert problems[0].found == "5000 bytes (truncated)"
    assert problems[0].wanted == f"{size} bytes"
    assert {(problem.part, problem.remedy) for problem in problems} == {(TAR, AGAIN)}
    assert any("truncated: member" in problem.found for problem in problems)


def test_a_tar_cut_between_members(sharded):
    path = path_of(sharded, TAR)
    place = members_of(path)[9].offset
    path.write_bytes(path.read_bytes()[:place])
    problems = verify(sharded.dataset)
    assert told(problems) == [
        (TAR, f"{place} bytes (truncated)", AGAIN),
        (TAR, f"truncated: the end of the archive is missing at byte {place} of {place}", AGAIN),
    ]


def test_a_tar_cut_between_members_and_stamped_so(sharded):
    """The commit agrees with the cut file; the tar itself and its index still tell."""
    path = path_of(sharded, TAR)
    path.write_bytes(path.read_bytes()[: members_of(path)[9].offset])
    forge(sharded, TAR)
    problems = verify(sharded.dataset)
    assert [problem.part for problem in problems] == [TAR]
    assert "the end of the archive is missing" in problems[0].found


def test_a_tar_that_lost_its_last_sample_cleanly(sharded):
    rewrite(sharded, TAR, lambda members: members[:-3])
    forge(sharded, TAR)
    assert told(verify(sharded.dataset)) == [(TAR, "45 members", AGAIN)]


def test_an_altered_byte(sharded):
    path = path_of(sharded, TAR)
    member = next(member for member in members_of(path)[6:] if member.name.endswith(".jpg") and member.data_size)
    data = bytearray(path.read_bytes())
    data[member.data_offset] ^= 1
    path.write_bytes(data)
    problems = verify(sharded.dataset)
    assert [problem.part for problem in problems] == [TAR, f"{TAR}:{member.name}"]
    assert all(problem.found.startswith("altered: sha256") and problem.remedy == AGAIN for problem in problems)


def change_text(suffix, change):
    """Change the first text of that suffix, keeping its size."""
    def changed(members):
        number = next(i for i, (name, _) in enumerate(members) if name.endswith(suffix))
        name, data = members[number]
        members[number] = (name, change(data))
        assert len(members[number][1]) == len(data)
        return members
    return changed


@pytest.mark.parametrize(
    ("suffix", "change", "found"),
    [
        (".txt", lambda data: data.replace(b"scene", b"scenf"), "altered: another caption"),
        (".json", lambda data: data.replace(b"http://example", b"http://exbmple"), "altered: another url"),
        (".json", lambda data: data.replace(b'"a scene', b'"a scenf', 2), "altered: another texts"),
        (".json", lambda data: b"[" + data[1:], "altered: no JSON"),
    ],
)
def test_an_altered_text_that_all_records_agree_with(sharded, suffix, change, found):
    rewrite(sharded, TAR, change_text(suffix, change))
    forge(sharded, TAR)
    [problem] = verify(sharded.dataset)
    key = pq.read_table(path_of(sharded, TAR.replace("tar", "parquet"))).column("key")[0]
    assert (problem.part, problem.found, problem.remedy) == (f"{TAR}:{key}{suffix}", found, AGAIN)


def test_very_many_altered_samples_are_not_all_told(sharded):
    rewrite(sharded, TAR, lambda members: [(name, data[::-1]) for name, data in members])
    problems = verify(sharded.dataset)
    assert len(problems) == 12
    assert problems[-1].found == "more than 10 samples are altered"


def test_an_altered_byte_in_any_stage_is_that_parts_problem(sharded):
    path = path_of(sharded, "raw/00001.tar")
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    [problem] = verify(sharded.dataset)
    assert (problem.part, problem.found[:7]) == ("raw/00001.tar", "altered")
    assert problem.remedy.startswith("Delete commits/fetch/00001.json")


def test_a_missing_file(sharded):
    sharded.dataset.delete(TAR)
    problems = verify(sharded.dataset)
    assert {(problem.part, problem.remedy) for problem in problems} == {(TAR, AGAIN)}
    assert problems[0].found == "missing or unreadable"


def test_a_missing_part(sharded):
    sharded.dataset.delete("commits/cut/train-00001.json")
    problems = verify(sharded.dataset)
    assert ("shards/train/00001.tar", "named by the manifest, committed by no part") in {
        (problem.part, problem.found) for problem in problems
    }
    assert all("train/00001" in problem.part for problem in problems)


def test_a_foreign_shard_beside_the_others(sharded):
    shutil.copy(path_of(sharded, TAR), path_of(sharded, "shards/train/00077.tar"))
    [problem] = verify(sharded.dataset)
    assert (problem.part, problem.remedy) == ("shards/train/00077.tar", "Delete it.")
    assert "published by no part" in problem.found


def test_a_shard_of_another_dataset_in_its_place(sharded, make_judged):
    other = make_judged("other", seed=3)
    other.shard(name="birds", **CONFIG | {"seed": 3})
    shutil.copy(path_of(other, TAR), path_of(sharded, TAR))
    forge(sharded, TAR)
    [problem] = verify(sharded.dataset)
    assert problem.part == TAR
    assert problem.found.startswith("member 0 is ")
    assert problem.found.endswith("of which its index knows nothing: another shard, or one of another dataset")
    assert problem.wanted.endswith("as its index says")
    assert problem.remedy == AGAIN


def test_a_shard_of_another_dataset_with_its_index(sharded, make_judged):
    other = make_judged("other", parts=4)
    other.shard(name="birds", **CONFIG | {"seed": 3})
    index = TAR.replace("tar", "parquet")
    for name in (TAR, index):
        shutil.copy(path_of(other, name), path_of(sharded, name))
        forge(sharded, name)
    found = {problem.part: problem for problem in verify(sharded.dataset) if "again" not in problem.found}
    assert found[index].found.endswith("comes after " + found[index].found.split()[-1])
    assert found[index].wanted == "samples in the order of seed 0, as this dataset's are"
    whose = next(problem for problem in verify(sharded.dataset) if "birds" in problem.found)
    assert whose.found == "the index of shard 'train/00001.tar' of dataset 'birds'"
    assert (whose.wanted, whose.remedy) == ("that of 'train/00001.tar' of 'toy'", AGAIN)


def test_two_shards_that_changed_places(sharded):
    names = [f"shards/train/0000{number}.{suffix}" for suffix in ("tar", "parquet") for number in (0, 1)]
    data = {name: path_of(sharded, name).read_bytes() for name in names}
    for name in names:
        path_of(sharded, name).write_bytes(data[swapped(name)])
        forge(sharded, name)
    problems = verify(sharded.dataset)
    found = [(problem.part, problem.found) for problem in problems]
    assert ("shards/train/00001.parquet", "the index of shard 'train/00000.tar' of dataset 'toy'") in found
    assert any(
        part == "shards/train/00001.tar" and "in the middle of shards/train/00000.tar or before it" in text
        for part, text in found
    )


def swapped(name):
    """The file of the other of the first two shards."""
    return name.replace("00000", "00001") if "00000" in name else name.replace("00001", "00000")


def test_a_key_twice(sharded):
    """Shard 0 again under the name of shard 1, with everything that speaks of it agreeing."""
    for suffix in ("tar", "parquet"):
        shutil.copy(path_of(sharded, f"shards/train/00000.{suffix}"), path_of(sharded, f"shards/train/00001.{suffix}"))
        forge(sharded, f"shards/train/00001.{suffix}")
    problems = verify(sharded.dataset)
    keys = pq.read_table(path_of(sharded, "shards/train/00000.parquet")).column("key").to_pylist()
    again = [problem for problem in problems if problem.found.endswith("again")]
    assert [problem.found for problem in again] == [f"key {key} again" for key in keys]
    assert {(problem.part, problem.wanted) for problem in again} == {
        (TAR, "each key once; it is also in shards/train/00000.tar")
    }


def test_a_key_twice_in_one_shard(sharded):
    index = TAR.replace("tar", "parquet")
    rows = pq.read_table(path_of(sharded, index)).to_pylist()
    first, second = rows[0]["key"], rows[1]["key"]

    def named_alike(members):
        return [(name.replace(second, first), data.replace(second.encode(), first.encode())) for name, data in members]

    rewrite(sharded, TAR, named_alike)
    rows[1] |= {"key": first, "member": rows[1]["member"].replace(second, first)}
    write_rows(sharded, index, rows)
    for name in (TAR, index):
        forge(sharded, name)
    problems = verify(sharded.dataset)
    assert (TAR, f"key {first} again", f"each key once; it is also in {TAR}") in {
        (problem.part, problem.found, problem.wanted) for problem in problems
    }


def test_an_index_that_lies_about_an_offset(sharded):
    name = "shards/train/00001.parquet"
    rows = pq.read_table(path_of(sharded, name)).to_pylist()
    rows[5]["media_offset"] += 512
    write_rows(sharded, name, rows)
    forge(sharded, name)
    problems = verify(sharded.dataset)
    assert {problem.part for problem in problems} == {TAR}
    assert any(rows[5]["key"] in problem.found for problem in problems)


def test_a_manifest_that_disagrees_with_the_commits(sharded):
    path = path_of(sharded, "shards/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["splits"]["train"]["shards"][1]["sha256"] = "f" * 64
    del manifest["splits"]["train"]["shards"][2]
    path.write_text(json.dumps(manifest))
    problems = verify(sharded.dataset)
    found = {(problem.part, problem.found) for problem in problems}
    assert (TAR, "the manifest says sha256 ffffffffffffffff") in found
    assert ("shards/train/00002.tar", "committed, but not in the manifest") in found
    assert any(problem.found.startswith("split train has") for problem in problems)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("wids.json", lambda text: text.replace('"nsamples": 16', '"nsamples": 15', 1), "'\"nsamples\": 16,'"),
        ("wids.json", lambda text: text.replace("00002.tar", "00009.tar"), "00002.tar"),
        ("sizes.json", lambda text: "{}\n", "in line 1"),
    ],
)
def test_an_index_of_another_reader_that_disagrees(sharded, name, change, says):
    path = path_of(sharded, f"shards/train/{name}")
    path.write_text(change(path.read_text()))
    forge_commit(sharded, "manifest/all", [f"shards/train/{name}"])
    [problem] = verify(sharded.dataset)
    assert (problem.part, problem.found) == (f"shards/train/{name}", "disagrees with the manifest")
    assert says in problem.wanted
    assert problem.remedy.startswith("Delete commits/manifest/all.json")
    path.unlink()
    assert f"shards/train/{name}" in {problem.part for problem in verify(sharded.dataset)}


def test_a_manifest_that_disagrees_with_itself(sharded):
    path = path_of(sharded, "shards/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["splits"]["train"]["bytes"] += 1
    manifest["generations"][0]["shards"]["train"] += 1
    path.write_text(json.dumps(manifest))
    found = {problem.found for problem in verify(sharded.dataset)}
    shards = len(manifest["splits"]["train"]["shards"])
    assert f"split train has {manifest['splits']['train']['bytes']} bytes" in found
    assert f"its generations have {shards + 1} shards of split train" in found


def test_shards_alone_are_held_against_their_manifest(sharded, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(path_of(sharded, "shards"), copy / "shards")
    assert verify(Store(str(copy))) == []
    (copy / TAR).write_bytes((copy / TAR).read_bytes()[:-1])
    (copy / "shards/train/00002.parquet").unlink()
    problems = verify(Store(str(copy)))
    assert {problem.part for problem in problems} == {TAR, "shards/train/00002.parquet"}
    assert {problem.remedy for problem in problems} == {
        "Copy the shard and its index again from where they came from."
    }


@pytest.mark.ray
def test_ray_finds_the_same(sharded, ray_of_two_nodes):
    path_of(sharded, TAR).write_bytes(path_of(sharded, TAR).read_bytes()[:5000])
    path_of(sharded, "raw/00001.tar").unlink()
    config = EngineConfig(place="ray", address=ray_of_two_nodes)
    with ray_session(config):
        assert verify(sharded.dataset, Engine(sharded.dataset, config)) == verify(sharded.dataset)


def test_no_manifest(sharded):
    sharded.dataset.delete("shards/manifest.json")
    problems = verify(sharded.dataset)
    assert {problem.part for problem in problems} == {"shards/manifest.json"}
    assert "pairmill shard" in problems[-1].remedy


def test_a_damaged_commit_record(sharded):
    path_of(sharded, "commits/cut/train-00001.json").write_text("{}")
    problems = verify(sharded.dataset)
    assert problems[0].part == "commits/cut/train-00001.json"
    assert "not a commit record" in problems[0].found


def test_a_damaged_index(sharded):
    path_of(sharded, "shards/train/00001.parquet").write_bytes(b"PAR1 nothing PAR1")
    problems = verify(sharded.dataset)
    assert {problem.part for problem in problems} == {"shards/train/00001.parquet"}
    assert {problem.remedy for problem in problems} == {AGAIN}


def test_the_remedy_heals(sharded):
    before = sharded.files("")
    path = path_of(sharded, TAR)
    path.write_bytes(path.read_bytes()[:5000])
    assert verify(sharded.dataset) != []
    sharded.dataset.delete("commits/cut/train-00001.json")
    sharded.shard(**CONFIG)
    assert verify(sharded.dataset) == []
    assert sharded.files("") == before
