"""Training under torchrun on this machine: one process per worker, started afresh by torch's own launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cluster.site import TrainSite
from pipeline.errors import TrainingError


def launch(config: dict[str, Any], site: TrainSite, address: str | None) -> None:
    """Run train_func in `site.workers` processes. Raises: TrainingError: a process failed."""
    with tempfile.TemporaryDirectory(prefix="pairmill-") as folder:
        file = Path(folder) / "train.json"
        file.write_text(json.dumps(config))
        log = Path(folder) / "log.txt"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "0",
            "--nproc-per-node", str(site.workers), "--module", "cluster.launch.worker", str(file),
        ]  # fmt: skip
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env=_environment(site), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
        if code != 0:
            raise TrainingError(f"torchrun ended with code {code}: {_last_words(log.read_text(errors='replace'))}")


def _environment(site: TrainSite) -> dict[str, str]:
    environment = dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(max(1, int(site.cpus_per_worker)))
    if site.gpus_per_worker == 0:
        environment["DS_ACCELERATOR"] = "cpu"
    return environment


def _last_words(text: str) -> str:
    """The error that a worker printed, rather than the launcher's summary of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line and "torch.distributed.elastic" not in line]
    own = [line for line in errors if line.startswith("pairmill")]
    return (own or errors or lines or ["no output"])[0 if own else -1]
