import os
import subprocess
import sys
from argparse import Namespace
from importlib import metadata

import pytest

from cluster.verbs import doctor


def states(findings):
    return {finding.part: finding.state for finding in findings}


def test_this_installation_is_in_order():
    for check in (
        doctor.check_python,
        doctor.check_names,
        doctor.check_versions,
        doctor.check_memory,
        doctor.check_gpus,
    ):
        assert "broken" not in states(check()).values()


def test_a_module_of_the_same_name_is_told(tmp_path):
    """A folder called `pipeline` in the working folder, which `python -m` puts before the installed one."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").touch()
    code = (
        "import importlib.util, sys\n"
        "from cluster.verbs import doctor\n"
        "sys.modules.pop('pipeline', None)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "for finding in doctor.check_names(): print(finding.part, finding.state, finding.found, finding.do, sep='|')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    line = next(line for line in done.stdout.splitlines() if line.startswith("name pipeline"))
    assert "broken" in line
    assert str(tmp_path) in line
    assert "rename the module" in line


def test_another_distribution_of_the_same_name_is_told(monkeypatch):
    owners = {"pipeline": ["pairmill", "pipeline-tools"], "pretrain": ["pairmill"], "cluster": ["pairmill"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    found = {finding.part: finding for finding in doctor.check_names()}
    assert found["name pipeline"].state == "broken"
    assert "pipeline-tools" in found["name pipeline"].found


def test_a_wrong_version_and_a_missing_part_are_told(monkeypatch):
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["numpy>=999", "surely-not-installed>=1", "pytest ; extra == 'dev'"]
    )
    found = {finding.part: finding for finding in doctor.check_versions()}
    assert found["numpy"].state == "broken"
    assert found["numpy"].do == "pip install 'numpy>=999'"
    assert found["surely-not-installed"].found.startswith("missing")
    assert "pytest" not in found


def test_stores_are_probed(s3_bucket, tmp_path, monkeypatch):
    assert states(doctor.check_store(f"{s3_bucket}/probe")) == {"store": "good"}
    assert states(doctor.check_store(str(tmp_path))) == {"store": "good"}
    assert list(tmp_path.iterdir()) == []
    assert states(doctor.check_store("s3://no-such-bucket/x")) == {"store": "broken"}
    assert states(doctor.check_store("ghost://x")) == {"store": "broken"}


@pytest.mark.ray
def test_ray_is_started_for_real():
    assert states(doctor.check_ray()) == {"ray": "good"}


def test_a_broken_part_makes_the_verb_fail(monkeypatch, capsys):
    broken = doctor.Finding("thing", "broken", "in two", "mend it")
    monkeypatch.setattr(doctor, "_checks", lambda store: [lambda: iter([broken])])
    result = doctor.doctor(Namespace(store=None, json=False))
    assert result["failed"]
    said = capsys.readouterr()
    assert "FAIL  thing" in said.out
    assert "-> mend it" in said.out
    assert "1 broken: thing" in said.err
    assert os.linesep
