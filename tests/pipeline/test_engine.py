import sys
import time
from pathlib import Path

import pytest

from pipeline.commit import read_commits
from pipeline.engine import Engine, EngineConfig, ray_session
from pipeline.errors import AskedWrongly, DatasetError, StageError
from pipeline.stage import SCRATCH, Part, Resources
from pipeline.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from toy_stage import Heavy, Second, Toy

PARTS = [Part(f"{i:05d}") for i in range(6)]


@pytest.fixture
def engine(tmp_path):
    return Engine(Store(str(tmp_path / "ds")), EngineConfig(place="process", workers=2))


def lines(path):
    return path.read_text().split() if path.exists() else []


def setups(path):
    return [line for line in lines(path) if line.startswith("setup")]


def test_only_what_is_missing_is_done(engine, tmp_path):
    log = tmp_path / "log"
    engine.run(Toy(log=str(log)), PARTS[:4])
    engine.run(Toy(log=str(log)), PARTS)
    assert sorted(lines(log)) == [part.id for part in PARTS]


def test_changed_settings_redo_everything_of_that_stage(engine, tmp_path):
    engine.run(Toy(), PARTS)
    log = tmp_path / "log"
    commits = engine.run(Toy("b", log=str(log)), PARTS)
    assert len(lines(log)) == len(PARTS)
    assert engine.dataset.read_bytes("toy/00003.txt") == b"b 00003"
    assert all(commit.facts["word"] == "b" for commit in commits.values())


def test_a_changed_input_redoes_what_depends_on_it_and_nothing_else(engine, tmp_path):
    log = tmp_path / "log"
    second = [Part(part.id, (("toy", part.id),)) for part in PARTS]
    engine.run(Toy(), PARTS)
    engine.run(Second("x"), second)
    engine.run(Toy("b"), PARTS[:2])
    engine.run(Second("x", log=str(log)), second)
    assert sorted(lines(log)) == ["00000", "00001"]


def test_an_equal_redo_of_the_input_leaves_the_rest_alone(engine, tmp_path):
    log = tmp_path / "log"
    second = [Part(part.id, (("toy", part.id),)) for part in PARTS]
    engine.run(Toy(), PARTS)
    engine.run(Second("x"), second)
    engine.dataset.delete("commits/toy/00001.json")
    engine.run(Toy(), PARTS)
    engine.run(Second("x", log=str(log)), second)
    assert lines(log) == []


def test_a_missing_input_is_named(engine):
    with pytest.raises(DatasetError, match="toy part 00000 is not committed"):
        engine.run(Second(), [Part("00000", (("toy", "00000"),))])


def test_a_failed_part_leaves_the_others_and_names_itself(engine):
    with pytest.raises(StageError, match="toy part 00005: RuntimeError: cannot do 00005"):
        engine.run(Toy(fail_on=("00005",)), PARTS)
    assert "00005" not in read_commits(engine.dataset, "toy")
    done = engine.run(Toy(), PARTS)
    assert list(done) == [part.id for part in PARTS]


def test_scratch_is_left_clean_and_swept(engine):
    engine.run(Toy(), PARTS)
    scratch = engine.dataset.local_path(SCRATCH)
    assert not list(scratch.iterdir())
    (scratch / "999-left").mkdir()
    torn = engine.dataset.local_path("commits/toy/.00000.json.1-1.tmp")
    torn.touch()
    engine.clean()
    assert not scratch.exists()
    assert not torn.exists()
    assert len(read_commits(engine.dataset, "toy")) == len(PARTS)


def test_prune_drops_parts_the_plan_no_longer_has(engine):
    engine.run(Toy(), PARTS)
    engine.prune("toy", [part.id for part in PARTS[:2]])
    assert engine.dataset.list("toy") == ["00000.txt", "00001.txt"]
    assert list(read_commits(engine.dataset, "toy")) == ["00000", "00001"]


@pytest.mark.ray
def test_ray_gives_the_same_bytes_and_survives_a_killed_worker(tmp_path, ray_of_two_nodes):
    """Two nodes; a worker is killed with SIGKILL in the middle of a part, once."""
    here = Engine(Store(str(tmp_path / "process")), EngineConfig(place="process"))
    here.run(Toy(), PARTS)
    log = tmp_path / "log"
    log.touch()
    config = EngineConfig(place="ray", address=ray_of_two_nodes)
    with ray_session(config):
        there = Engine(Store(str(tmp_path / "ray")), config)
        there.run(Toy(die_on=("00002",), log=str(log)), PARTS)
        with pytest.raises(StageError, match="toy part 00001: RuntimeError: cannot do 00001"):
            there.run(Toy("b", fail_on=("00001",)), PARTS)
    assert lines(log).count("00002") == 2
    names = [f"toy/{part.id}.txt" for part in PARTS]
    there.run(Toy(), [])  # an empty plan needs no cluster
    fresh = Engine(Store(str(tmp_path / "ray")), EngineConfig(place="process"))
    fresh.run(Toy(), PARTS)
    assert [here.dataset.read_bytes(name) for name in names] == [fresh.dataset.read_bytes(name) for name in names]


@pytest.mark.ray
def test_a_stage_that_asks_for_a_gpu_runs_on_actors_that_set_up_once(tmp_path, ray_of_two_nodes):
    log = tmp_path / "log"
    stage = Heavy(log=str(log))
    stage.resources = Resources(cpus=0.5, gpus=0.5)
    config = EngineConfig(place="ray", address=ray_of_two_nodes, workers=2)
    with ray_session(config):
        engine = Engine(Store(str(tmp_path / "ds")), config)
        assert list(engine.run(stage, PARTS)) == [part.id for part in PARTS]
        stage.resources = Resources(cpus=64, gpus=0.5)
        with pytest.raises(
            AskedWrongly, match=r"toy: one worker wants 64 CPU, 0.5 GPU, and the largest node .* has 1 CPU, 1 GPU"
        ):
            engine.run(stage, [*PARTS, Part("00099")])
    assert 1 <= len(setups(log)) <= 2


@pytest.mark.ray
def test_a_process_sets_up_a_stage_once_however_many_parts_it_makes(tmp_path, ray_of_two_nodes):
    log, parts = tmp_path / "log", [Part(f"{i:05d}") for i in range(12)]
    config = EngineConfig(place="ray", address=ray_of_two_nodes)
    with ray_session(config):
        engine = Engine(Store(str(tmp_path / "ds")), config)
        engine.run(Heavy(log=str(log)), parts)
        first = setups(log)
        engine.run(Heavy("b", log=str(log)), parts)
        second = setups(log)[len(first) :]
    assert engine.dataset.read_bytes("toy/00003.txt") == b"b 00003"
    for once in first, second:
        assert len(once) == len(set(once)) < len(parts) / 2


class SlowToFail(Toy):
    """Every part takes a moment and fails."""

    def make(self, part, work):
        time.sleep(0.02)
        return super().make(part, work)


def test_ten_failures_end_the_run_before_the_rest_has_begun(engine, tmp_path):
    parts = [Part(f"{i:05d}") for i in range(400)]
    log = tmp_path / "log"
    with pytest.raises(StageError, match="cannot do 0000"):
        engine.run(SlowToFail(fail_on=[part.id for part in parts], log=str(log)), parts)
    assert len(lines(log)) < len(parts) / 2
