"""The command line as a user meets it: in processes of its own."""

import json
import subprocess
import sys

import pytest

from cluster.cli import VERBS, main
from cluster.quickstart.world import draw_world


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def test_help_is_light():
    """`pairmill --help` loads no heavy library."""
    code = (
        "import sys, cluster.cli\n"
        "try: cluster.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'deepspeed', 'transformers', 'pyarrow', 'aiohttp', 'cv2', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
    for verb in VERBS:
        assert verb in done.stdout


def test_curating_and_judging_load_no_torch(tmp_path):
    code = (
        "import sys, pipeline.curate; print(sorted({'torch', 'ray', 'deepspeed', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_exists_and_explains_itself(verb, capsys):
    import importlib

    module, function = VERBS[verb].call.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert VERBS[verb].help in " ".join(capsys.readouterr().out.split())


def test_asking_wrongly_is_exit_2_and_one_line():
    done = run("curate", "quickstrt")
    assert done.returncode == 2
    assert (
        done.stderr == "pairmill curate: recipe 'quickstrt' does not ship with pairmill. Did you mean 'quickstart'?\n"
    )
    done = run("curate", "quickstart", "--on", "locl")
    assert done.returncode == 2
    assert "Did you mean 'local'?" in done.stderr
    assert run("curate").returncode == 2
    assert run("grind").returncode == 2


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path):
    (tmp_path / "pairmill-quickstart").mkdir()
    draw_world(3, 0).write_list(tmp_path / "pairmill-quickstart" / "list.tsv", "http://127.0.0.1:9")
    done = run("judge", "quickstart", "--dry-run", "--set", "shard.samples=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["stages"] == ["ingest", "fetch", "score", "judge"]
    assert plan["recipe"]["shard"]["samples"] == 7
    assert not (tmp_path / "pairmill-quickstart" / "dataset").exists()


def test_a_dry_run_of_training_prints_the_deepspeed_settings(tmp_path):
    done = run("pretrain", "tiny-clip", "--dry-run", "--set", "zero.stage=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["deepspeed"]["zero_optimization"]["stage"] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_divide_is_told_first(tmp_path):
    done = run("pretrain", "tiny-clip", "--dry-run", "--set", "batch_size=127", cwd=tmp_path)
    assert done.returncode == 2
    assert "batch_size 127 does not divide over 2 workers" in done.stderr


def test_show_lists_everything_that_ships_and_resolves_it(capsys):
    assert main(["show", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "quickstart" in found["dataset recipes"]
    assert "tiny-clip" in found["training recipes"]
    assert "local" in found["sites"]
    for names in found.values():
        for name in names:
            assert main(["show", name]) == 0, name
            assert json.loads(capsys.readouterr().out)["name"]
    assert main(["show", "tiny-clp"]) == 2
    assert "Did you mean 'tiny-clip'" in capsys.readouterr().err


def test_a_curation_by_command_and_a_look_at_it(tmp_path, capsys):
    from cluster.quickstart.run import local_web_settings
    from cluster.quickstart.web import LocalWeb

    world = draw_world(40, 1)
    with LocalWeb(world.pages) as web:
        world.write_list(tmp_path / "list.tsv", web.url)
        arguments = ["curate", "quickstart", "--on", "process", "--json"]
        settings = [f"dataset={tmp_path / 'ds'}", f"source.path={tmp_path / 'list.tsv'}", *local_web_settings(web)]
        for setting in settings:
            arguments += ["--set", setting]
        assert main(arguments) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["splits"]["train"] > 0
    assert "duplicate_pair" in said.err
    assert main(["show", str(tmp_path / "ds")]) == 0
    assert "fetched" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "ds")]) == 0
    (tmp_path / "ds" / "raw" / "00000.parquet").unlink()
    assert main(["verify", str(tmp_path / "ds")]) == 1
    assert "raw/00000.parquet" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nothing")]) == 2
