"""A run stopped at any write or delete resumes to the same bytes, and a standing manifest never lies meanwhile."""

import hashlib

import pytest

from pipeline.shard.manifest import MANIFEST, read_manifest
from pipeline.store import Store

FIRST = {"samples": 8, "splits": {"validation": 0.3}, "bucket_rows": 16}
THEN = {"bytes": 20_480, "splits": {"validation": 0.3}, "bucket_rows": 30}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


@pytest.fixture
def kill_at(monkeypatch):
    """kill_at(n) stops the n-th change of the store from now on, and says how many were made."""
    made = {"changes": 0, "last": None}

    def counted(name):
        original = getattr(Store, name)

        def change(self, *arguments):
            made["changes"] += 1
            if made["changes"] == made["last"]:
                raise Killed
            return original(self, *arguments)

        monkeypatch.setattr(Store, name, change)

    for name in ("put_file", "put_bytes", "delete"):
        counted(name)

    def arm(last):
        made.update(changes=0, last=last)
        return made

    return arm


def assert_manifest_is_true(dataset):
    if not dataset.exists(MANIFEST):
        return
    for split in read_manifest(dataset).splits.values():
        for entry in split.shards:
            assert hashlib.sha256(dataset.read_bytes(entry.tar)).hexdigest() == entry.sha256
            assert hashlib.sha256(dataset.read_bytes(entry.index)).hexdigest() == entry.index_sha256


def before_kill(name, judged, extend):
    """Bring a dataset to where the run that is killed finds it; gives the settings of that run."""
    if name == "new":
        return THEN
    if name == "changed":
        judged.shard(**FIRST)
        return THEN
    judged.shard(**FIRST, growth="append")
    extend(judged, "00002", range(40, 60))
    return FIRST | {"growth": "append"}


@pytest.mark.parametrize("name", ["new", "changed", "appended"])
def test_stops_anywhere_and_resumes_to_the_same_bytes(make_judged, extend, kill_at, name):
    wanted = make_judged("wanted", parts=2, rows=20)
    config = before_kill(name, wanted, extend)
    wanted.shard(**config)
    point, finished = 2, False
    while not finished:
        judged = make_judged(f"killed-{point}", parts=2, rows=20)
        before_kill(name, judged, extend)
        kill_at(point)
        try:
            judged.shard(**config)
            finished = True
        except Killed:
            assert_manifest_is_true(judged.dataset)
            assert name != "appended" or judged.dataset.exists(MANIFEST)
        kill_at(None)
        judged.shard(**config)
        for folder in ("shards", "commits", "shuffle"):
            # a kill inside a write leaves its temporary file, which no listing takes for a record
            found = {name: data for name, data in judged.files(folder).items() if not name.endswith(".tmp")}
            assert found == wanted.files(folder), (point, folder)
        point += 3 if name == "new" else 5
    assert point > 20
