"""What every figure was taken on: the end of each benchmark's JSON line."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def about(*packages):
    """`commit` (with -dirty where files differ from it), `machine`, and `versions` of those packages that are here."""
    versions = {name: version_of(name) for name in packages}
    return {
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "processor": processor(), "python": platform.python_version()},
        "versions": {name: found for name, found in versions.items() if found is not None},
    }


def version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit():
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
