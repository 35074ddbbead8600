"""All-gather that gradients pass through.

The backward of a gather is a sum over ranks of the gradients that every rank has for this rank's rows. With
data-parallel averaging of parameter gradients it makes a loss of "own rows x all columns" exact: the mean over
ranks of those losses is the global loss, and each rank's towers receive the whole of its derivative.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks; 1 where no process group exists."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process among the ranks; 0 where no process group exists."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(rows_BD: Tensor) -> Tensor:
    """The rows of all ranks in rank order, as GD; differentiable. Every rank gives the same number of rows."""
    return rows_BD if world_size() == 1 else _GatherRows.apply(rows_BD)


def gather_constants(values_B: Tensor) -> Tensor:
    """The entries of all ranks in rank order; no gradient passes."""
    if world_size() == 1:
        return values_B
    parts = [torch.empty_like(values_B) for _ in range(world_size())]
    dist.all_gather(parts, values_B.contiguous())
    return torch.cat(parts)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows_BD: Tensor) -> Tensor:
        context.num_rows = rows_BD.shape[0]
        return gather_constants(rows_BD.detach())

    @staticmethod
    def backward(context: Any, grad_GD: Tensor) -> Tensor:
        # gloo has no reduce-scatter on every build, so: sum everything, keep the own slice.
        total_GD = grad_GD.contiguous().clone()
        dist.all_reduce(total_GD, op=dist.ReduceOp.SUM)
        start = rank() * context.num_rows
        return total_GD[start : start + context.num_rows]
