import logging

import pytest
import torch

from pipeline.errors import TrainingError
from pipeline.store import Store
from pretrain.checkpoint import RECORD, Checkpoint, check_world, committed, load, newest, prune, save
from pretrain.world import World

ALONE = World(0, 1, torch.device("cpu"))


class State:
    """Something to save: a few bytes in two files, one of them in a folder."""

    def __init__(self, data=b""):
        self.data = data

    def save(self, folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "a.bin").write_bytes(self.data)
        (folder / "b.bin").write_bytes(self.data * 2)

    def load(self, folder):
        self.data = (folder / "inner" / "a.bin").read_bytes()
        assert (folder / "b.bin").read_bytes() == self.data * 2


@pytest.fixture(params=["local", "bucket"])
def run(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path))
    return Store(request.getfixturevalue("s3_bucket") + "/run")


def write(run, step, data=None):
    return save(run, State(data or f"step {step}".encode()), Checkpoint(step, 2, step * 8, 1, ()), ALONE)


def test_what_was_saved_last_is_loaded(run):
    assert newest(run) is None
    write(run, 9)
    write(run, 10)
    state = State()
    found = newest(run)
    load(run, state, found)
    assert state.data == b"step 10"
    assert (found.step, found.world, found.samples, found.stage) == (10, 2, 80, 1)
    assert [stamp.bytes for stamp in found.files] == [14, 7]


def test_a_damaged_checkpoint_is_passed_over_and_said_so(run, caplog):
    write(run, 1)
    write(run, 2)
    run.put_bytes("checkpoints/step-000002/b.bin", b"step 2step X")
    with caplog.at_level(logging.WARNING):
        assert newest(run).step == 1
    assert "step=2 passed over" in caplog.text
    assert "b.bin" in caplog.text


def test_a_lost_file_and_a_torn_record_are_passed_over(run, caplog):
    for step in (1, 2, 3):
        write(run, step)
    run.delete("checkpoints/step-000003/inner/a.bin")
    run.put_bytes(f"checkpoints/step-000002/{RECORD}", b'{"step": 2, ')
    assert newest(run).step == 1
    assert "cannot be read" in caplog.text


def test_a_folder_without_a_record_is_no_checkpoint(run):
    write(run, 1)
    run.put_bytes("checkpoints/step-000002/b.bin", b"from a run that was killed here")
    assert newest(run).step == 1
    write(run, 2)
    assert newest(run).step == 2
    assert len(newest(run).files) == 2


def test_saving_a_step_again_replaces_it(run):
    write(run, 1, b"first")
    write(run, 1, b"second")
    state = State()
    load(run, state, newest(run))
    assert state.data == b"second"


def test_the_oldest_go(run):
    for step in (5, 100, 20, 1000000):
        write(run, step)
    run.put_bytes("checkpoints/step-000050/b.bin", b"from a run that was killed here")
    prune(run, 2)
    assert [checkpoint.step for checkpoint in committed(run)] == [1000000, 100]
    assert not run.exists("checkpoints/step-000005/b.bin")
    assert not run.exists("checkpoints/step-000050/b.bin")


def test_shares_of_other_ranks_cannot_be_read():
    split, whole = Checkpoint(3, 4, 24, 2, ()), Checkpoint(3, 4, 24, 0, ())
    with pytest.raises(TrainingError, match=r"written by 4 workers under ZeRO stage 2.*this run has 2.*Resume with 4"):
        check_world(split, 2, "run")
    check_world(split, 4, "run")
    check_world(whole, 2, "run")
