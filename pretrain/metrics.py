"""What a run says of itself while it learns: metrics.jsonl and TensorBoard, both written by rank 0.

    {"step": 100, "loss": 3.21, "lr": 0.0005, "logit_scale": 14.9, "grad_norm": 0.8, "samples_per_s": 410.0, ...}
    {"step": 100, "eval": {"image_to_text_r10": 0.31, "image_to_text_r10_chance": 0.02, ...}}

After a resume, what was written beyond the checkpoint is taken back, so every step stands once.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline.store import Store

FILE = "metrics.jsonl"
_BOARD = "tensorboard"


class Metrics:
    """Appends records; where the run is not on this machine, files are kept aside and uploaded by `publish`."""

    def __init__(self, run: Store, resumed_step: int) -> None:
        """Open the files of `run`, without records after `resumed_step`."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        self._aside = None if run.is_local else tempfile.TemporaryDirectory(prefix="pairmill-")
        self._folder = run.local_path("") if self._aside is None else Path(self._aside.name)
        _take_back(run, resumed_step)
        if self._aside is not None and run.exists(FILE):
            (self._folder / FILE).write_bytes(run.read_bytes(FILE))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stream = (self._folder / FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self._folder / _BOARD), purge_step=resumed_step or None)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Record what one training step gave."""
        self._write({"step": step, **values})
        for name, value in values.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def evaluation(self, step: int, values: dict[str, float]) -> None:
        """Record what an evaluation gave."""
        self._write({"step": step, "eval": values})
        for name, value in values.items():
            self._board.add_scalar(f"eval/{name}", value, step)

    def publish(self) -> None:
        """Bring the files to the store, where they are not there already."""
        self._board.flush()
        if self._aside is None:
            return
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            self._run.put_bytes(str(path.relative_to(self._folder)), path.read_bytes())

    def close(self) -> None:
        """Publish and let go of the files."""
        self._stream.flush()
        self.publish()
        self._board.close()
        self._stream.close()
        if self._aside is not None:
            self._aside.cleanup()

    def _write(self, record: dict[str, Any]) -> None:
        self._stream.write(json.dumps({name: _plain(value) for name, value in record.items()}) + "\n")
        self._stream.flush()


def _take_back(run: Store, resumed_step: int) -> None:
    """Drop records after `resumed_step` and a line that a kill tore."""
    if not run.exists(FILE):
        return
    before = run.read_bytes(FILE)
    kept = []
    for line in before.splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if line.endswith(b"\n") and record["step"] <= resumed_step:
            kept.append(line)
    after = b"".join(kept)
    if after != before:
        run.put_bytes(FILE, after)


def _plain(value: Any) -> Any:
    """Six digits are enough for a curve, and keep the file small."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
