"""Each kind of damage is found, named with its part, and told what to do about it; a whole dataset has no problem."""

import dataclasses
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import stamp_of
from pipeline.record import SHARD_INDEX
from pipeline.shard.verify import verify
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
    """Make commit and manifest agree with the changed file `name`, as a forger or a bug would."""
    stamp = stamp_of(name, path_of(judged, name))
    record = path_of(judged, f"commits/cut/{name.split('/')[1]}-{name.split('/')[2][:5]}.json")
    commit = json.loads(record.read_text())
    commit["files"] = [dataclasses.asdict(stamp) if old["name"] == name else old for old in commit["files"]]
    manifest_path = path_of(judged, "shards/manifest.json")
    manifest = json.loads(manifest_path.read_text())
    for split in manifest["splits"].values():
        for entry in split["shards"]:
            if f"shards/{entry['name']}" == name:
                entry.update(bytes=stamp.bytes, sha256=stamp.sha256)
            if f"shards/{entry['name'][:-4]}.parquet" == name:
                entry["index_sha256"] = stamp.sha256
    manifest_path.write_text(json.dumps(manifest))
    record.write_text(json.dumps(commit))
    publish = path_of(judged, "commits/manifest/all.json")
    commit = json.loads(publish.read_text())
    stamp = stamp_of("shards/manifest.json", manifest_path)
    commit["files"] = [dataclasses.asdict(stamp) if old["name"] == stamp.name else old for old in commit["files"]]
    publish.write_text(json.dumps(commit))


@pytest.mark.parametrize("deep", [True, False])
def test_a_whole_dataset_has_no_problem(sharded, deep):
    assert verify(sharded.dataset, deep) == []


def test_a_tar_cut_at_a_byte(sharded):
    path = path_of(sharded, TAR)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:5000])
    problems = verify(sharded.dataset, deep=False)
    assert problems[0].found == "5000 bytes (truncated)"
    assert problems[0].wanted == f"{size} bytes"
    assert {(problem.part, problem.remedy) for problem in problems} == {(TAR, AGAIN)}
    assert any("truncated: member" in problem.found for problem in problems)


def test_a_tar_cut_between_members(sharded):
    path = path_of(sharded, TAR)
    place = members_of(path)[9].offset
    path.write_bytes(path.read_bytes()[:place])
    problems = verify(sharded.dataset, deep=False)
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
    path = path_of(sharded, TAR)
    data, members = path.read_bytes(), members_of(path)
    with TarWriter(path) as tar:
        for member in members[:-3]:
            tar.add(member.name, data[member.data_offset :][: member.data_size])
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
    assert verify(sharded.dataset, deep=False) == []  # the same size: only reading every byte tells


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
    other.shard(**CONFIG | {"seed": 3})
    shutil.copy(path_of(other, TAR), path_of(sharded, TAR))
    forge(sharded, TAR)
    [problem] = verify(sharded.dataset)
    assert problem.part == TAR
    assert problem.found.startswith("member 0 is ")
    assert problem.wanted.endswith("as its index says")
    assert problem.remedy == AGAIN


def test_a_key_twice(sharded):
    """Shard 0 again under the name of shard 1, with everything that speaks of it agreeing."""
    for suffix in ("tar", "parquet"):
        shutil.copy(path_of(sharded, f"shards/train/00000.{suffix}"), path_of(sharded, f"shards/train/00001.{suffix}"))
        forge(sharded, f"shards/train/00001.{suffix}")
    problems = verify(sharded.dataset)
    keys = pq.read_table(path_of(sharded, "shards/train/00000.parquet")).column("key").to_pylist()
    assert [problem.found for problem in problems] == [f"key {key} again" for key in keys]
    assert {(problem.part, problem.wanted) for problem in problems} == {
        (TAR, "each key once; it is also in shards/train/00000.tar")
    }


def test_an_index_that_lies_about_an_offset(sharded):
    name = "shards/train/00001.parquet"
    rows = pq.read_table(path_of(sharded, name)).to_pylist()
    rows[5]["media_offset"] += 512
    pq.write_table(pa.Table.from_pylist(rows, SHARD_INDEX), path_of(sharded, name))
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
    problems = verify(sharded.dataset, deep=False)
    found = {(problem.part, problem.found) for problem in problems}
    assert (TAR, "the manifest says sha256 ffffffffffffffff") in found
    assert ("shards/train/00002.tar", "committed, but not in the manifest") in found
    assert any(problem.found.startswith("split train has") for problem in problems)


def test_no_manifest(sharded):
    sharded.dataset.delete("shards/manifest.json")
    problems = verify(sharded.dataset)
    assert {problem.part for problem in problems} == {"shards/manifest.json"}
    assert "pairmill shard" in problems[-1].remedy


def test_a_damaged_commit_record(sharded):
    path_of(sharded, "commits/cut/train-00001.json").write_text("{}")
    problems = verify(sharded.dataset, deep=False)
    assert problems[0].part == "commits/cut/train-00001.json"
    assert "not a commit record" in problems[0].found


def test_a_damaged_index(sharded):
    path_of(sharded, "shards/train/00001.parquet").write_bytes(b"PAR1 nothing PAR1")
    problems = verify(sharded.dataset, deep=False)
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
