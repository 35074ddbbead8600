"""The ranks of a run: who this process is, and the few things they tell each other outside of training.

RANK, LOCAL_RANK, WORLD_SIZE and MASTER_* come from torchrun or Ray Train. Under Ray Train the process group stands
already; a process started without any of these is a world of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pretrain.zero import import_before_joining, leave

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class World:
    """This process among the ranks."""

    rank: int
    size: int
    device: torch.device

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather(None)

    def gather(self, value: Any) -> list[Any]:
        """What every rank gave, in rank order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def from_first(self, value: Any) -> Any:
        """What rank 0 gave."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sums(self, values: list[float]) -> list[float]:
        """Sums over ranks, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()


@contextmanager
def joined() -> Iterator[World]:
    """Join the process group, or use the one that stands; leaves it again only where it was joined here."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = _device(local_rank)
    ours = not dist.is_initialized()
    if ours:
        import_before_joining(device)
        _join("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // on_this_machine))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        if ours and dist.is_initialized():
            leave()


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # Ray Train may show every worker one device alone.
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _join(backend: str) -> None:
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=TIMEOUT)
