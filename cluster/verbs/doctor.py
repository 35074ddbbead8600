"""doctor: look at this installation and say, for each part, whether it is fit and what to do where it is not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.errors import PairmillError
from pipeline.store import Store

OURS = ("pipeline", "pretrain", "cluster")
MIN_SHM_GB = 1.0


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    part: str
    state: Literal["good", "warning", "broken"]
    found: str
    do: str = ""


def doctor(options: argparse.Namespace) -> dict[str, Any]:
    """Print one line per part; `failed` where something is broken."""
    marks = {"good": "ok  ", "warning": "warn", "broken": "FAIL"}
    findings = []
    for check in _checks(options.store):
        for finding in check():
            findings.append(finding)
            if not options.json:
                hint = f"\n       -> {finding.do}" if finding.do else ""
                sys.stdout.write(f"{marks[finding.state]}  {finding.part:<16} {finding.found}{hint}\n")
                sys.stdout.flush()
    broken = [finding.part for finding in findings if finding.state == "broken"]
    sys.stderr.write(f"{len(broken)} broken: {', '.join(broken)}\n" if broken else "nothing is broken\n")
    return {"findings": [asdict(finding) for finding in findings], "failed": bool(broken)}


def _checks(store: str | None) -> list[Callable[[], Iterator[Finding]]]:
    found = [check_python, check_names, check_versions, check_memory, check_compiler, check_jpeg, check_gpus, check_ray]
    if store is not None:
        found.append(lambda: check_store(store))
    return found


def check_python() -> Iterator[Finding]:
    """Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata("pairmill").get("Requires-Python", "")
    if SpecifierSet(wanted).contains(version):
        yield Finding("python", "good", f"{version} at {sys.executable}")
    else:
        yield Finding("python", "broken", version, f"pairmill needs Python {wanted}")


def check_names() -> Iterator[Finding]:
    """The three packages are ours: `pipeline` and `cluster` are common words, and another may stand before them."""
    owners = metadata.packages_distributions()
    for name in OURS:
        others = sorted(set(owners.get(name, [])) - {"pairmill"})
        spec = importlib.util.find_spec(name)
        where = str(Path(spec.origin).parent) if spec is not None and spec.origin else "nowhere"
        if spec is None or spec.origin is None or not (Path(where) / "py.typed").exists():
            yield Finding(
                f"name {name}", "broken", f"`import {name}` finds {where}, which is not pairmill's",
                "run from another folder, or rename the module that stands before it; then reinstall pairmill",
            )  # fmt: skip
        elif others:
            yield Finding(
                f"name {name}", "broken", f"also installed by {', '.join(others)}: one overwrote the other",
                f"use an environment of its own for pairmill, or: pip uninstall {others[0]} and reinstall pairmill",
            )  # fmt: skip
        else:
            yield Finding(f"name {name}", "good", where)


def check_versions() -> Iterator[Finding]:
    """Every requirement is installed in a version that fits."""
    try:
        required = metadata.requires("pairmill") or []
    except metadata.PackageNotFoundError:
        yield Finding("pairmill", "broken", "not installed", "pip install pairmill, or `make setup` in a checkout")
        return
    yield Finding("pairmill", "good", metadata.version("pairmill"))
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(requirement.name, "broken", f"missing; wanted {wanted}", f"pip install '{wanted}'")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(requirement.name, "good", version)
        else:
            yield Finding(requirement.name, "broken", f"{version}; wanted {wanted}", f"pip install '{wanted}'")


def check_memory() -> Iterator[Finding]:
    """There is shared memory for Ray, and disk for scratch."""
    if os.path.isdir("/dev/shm"):
        free = shutil.disk_usage("/dev/shm").free / 1e9
        state: Literal["good", "warning"] = "good" if free >= MIN_SHM_GB else "warning"
        hint = "" if state == "good" else "Ray then uses slow disk; start the container with --shm-size=4g"
        yield Finding("shared memory", state, f"{free:.1f} GB free in /dev/shm", hint)
    else:
        yield Finding("shared memory", "warning", "no /dev/shm", "Ray will use slow disk for its object store")
    disk = shutil.disk_usage(".").free / 1e9
    yield Finding("disk", "good" if disk > 1 else "warning", f"{disk:.1f} GB free in {os.getcwd()}")


def check_compiler() -> Iterator[Finding]:
    """A C++ compiler lets DeepSpeed build faster kernels; nothing needs it."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found:
        yield Finding("C++ compiler", "good", found)
    else:
        yield Finding("C++ compiler", "good", "none; DeepSpeed then uses plain torch kernels")


def check_jpeg() -> Iterator[Finding]:
    """The JPEG decoder was compiled when pairmill was installed; libraries stand in for it, slower."""
    from pipeline.jpeg import native

    if native.is_built():
        kind = "vector code" if native.use_vector_code(True) else "plain code, for there is no AVX2"
        yield Finding("JPEG decoder", "good", f"native, {kind}")
    else:
        yield Finding(
            "JPEG decoder", "warning", "not compiled; libraries decode, at two thirds of the speed and to other pixels",
            "install a C compiler (gcc), then install pairmill again",
        )  # fmt: skip


def check_gpus() -> Iterator[Finding]:
    """torch sees the GPUs that the machine has."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = sorted({torch.cuda.get_device_name(index) for index in range(count)})
        yield Finding("gpus", "good", f"{count} x {', '.join(names)}, torch {torch.__version__}")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "gpus", "broken", f"nvidia-smi is here, but torch {torch.__version__} sees no GPU",
            "install a CUDA build of torch that fits the driver (nvidia-smi prints its CUDA version)",
        )  # fmt: skip
    else:
        yield Finding("gpus", "good", f"none; torch {torch.__version__} trains on the CPU")


def check_ray() -> Iterator[Finding]:
    """Ray starts here, and runs a task. In a process of its own, so that a hang has an end."""
    code = (
        "from pipeline.engine import EngineConfig, ray_session\n"
        "import ray\n"
        "with ray_session(EngineConfig()):\n"
        "    print(int(ray.get(ray.remote(lambda: 41).remote()) + 1), int(ray.cluster_resources()['CPU']))\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        yield Finding("ray", "broken", "did not start within 120 s", "look at /tmp/ray/session_latest/logs")
        return
    if done.returncode == 0 and done.stdout.startswith("42 "):
        yield Finding("ray", "good", f"starts on this machine with {done.stdout.split()[1]} CPUs")
    else:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        yield Finding("ray", "broken", last, "look at /tmp/ray/session_latest/logs")


def check_store(url: str) -> Iterator[Finding]:
    """The store takes a small file, gives it back and lets it go."""
    store, name = Store(url), f".pairmill-doctor-{uuid.uuid4().hex[:8]}"
    try:
        store.put_bytes(name, b"probe")
        same = store.read_bytes(name) == b"probe"
        store.delete(name)
    except PairmillError as error:
        yield Finding("store", "broken", str(error), "check the address, and the credentials in the environment")
        return
    except Exception as error:
        yield Finding("store", "broken", f"{url}: {type(error).__name__}: {error}", "check the address and credentials")
        return
    if same:
        yield Finding("store", "good", f"{url}: wrote, read and deleted")
    else:
        yield Finding("store", "broken", f"{url}: gave back other bytes than were written", "use another store")
