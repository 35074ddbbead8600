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


class Ranks:
    """The ranks as a loss in tiles meets them: one rank's rows at a time, by broadcast and reduction."""

    def size(self) -> int:
        """Number of ranks."""
        return world_size()

    def rank(self) -> int:
        """This process among them."""
        return rank()

    def gather(self, values_B: Tensor) -> Tensor:
        """The entries of all ranks in rank order."""
        return gather_constants(values_B)

    def rows_of(self, other: int, rows_BD: Tensor) -> Tensor:
        """The rows that rank `other` gave; every rank gives its own."""
        if self.size() == 1:
            return rows_BD
        found_BD = rows_BD.contiguous() if other == self.rank() else torch.empty_like(rows_BD)
        dist.broadcast(found_BD, src=other)
        return found_BD

    def sum_for(self, other: int, grad_BD: Tensor) -> Tensor:
        """On rank `other` the sum of what all ranks gave; of no use elsewhere."""
        if self.size() > 1:
            dist.reduce(grad_BD, dst=other)
        return grad_BD

    def log_sum(self, parts: Tensor) -> Tensor:
        """log of the sum over ranks of exp(parts), elementwise, with the maximum taken out."""
        if self.size() == 1:
            return parts
        most = parts.clone()
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        total = (parts - most).exp_()
        dist.all_reduce(total)
        return total.log_().add_(most)
