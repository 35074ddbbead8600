"""Commit records as they are remembered: what the store shows is what is returned, whoever wrote it."""

import pickle

import pytest

from pipeline import commit as commit_module
from pipeline.commit import Commit, drop_part, publish, read_commits
from pipeline.stage import Made
from pipeline.store import Store


@pytest.fixture
def dataset(tmp_path):
    return Store(str(tmp_path / "ds"))


def put(dataset, tmp_path, part, text, made_by="hand", stage="toy"):
    local = tmp_path / "made.txt"
    local.write_text(text)
    return publish(dataset, stage, part, made_by, Made({f"{stage}/{part}.txt": local}, 1, 1))


def test_records_written_by_others_are_seen(dataset, tmp_path):
    first = put(dataset, tmp_path, "0", "a")
    assert read_commits(dataset, "toy") == {"0": first}
    other = Store(dataset.url)
    second = put(other, tmp_path, "0", "b", made_by="elsewhere")
    third = put(other, tmp_path, "1", "c")
    assert read_commits(dataset, "toy") == {"0": second, "1": third} != {"0": first}
    drop_part(other, second)
    assert read_commits(dataset, "toy") == {"1": third}


def test_an_unchanged_record_is_read_once(dataset, tmp_path, monkeypatch):
    for part in range(4):
        put(dataset, tmp_path, str(part), "a")
    read = []
    whole = Commit.from_json
    monkeypatch.setattr(Commit, "from_json", lambda data, where: read.append(where) or whole(data, where))
    found = read_commits(dataset, "toy")
    found.pop("0")  # a caller's own dictionary
    put(Store(dataset.url), tmp_path, "2", "b", made_by="elsewhere")
    assert list(read_commits(dataset, "toy")) == ["0", "1", "2", "3"]
    assert len(read) == 4 + 1 + 1  # each once, and record 2 twice more: by its publisher, and because it is another


def test_a_store_remembers_a_bounded_number(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(commit_module, "MAX_REMEMBERED", 3)
    for stage in ("one", "two", "three"):
        for part in range(2):
            put(dataset, tmp_path, str(part), stage, stage=stage)
    for _ in range(2):
        for stage in ("one", "two", "three"):
            assert len(read_commits(dataset, stage)) == 2
            assert sum(map(len, dataset.memory["commits"].values())) <= 3


def test_what_is_remembered_does_not_travel(dataset, tmp_path):
    commit = put(dataset, tmp_path, "0", "a")
    read_commits(dataset, "toy")
    assert pickle.loads(pickle.dumps(dataset)).memory == {}
    assert pickle.loads(pickle.dumps(commit)).content() == commit.content()
