"""Means over the rows of all ranks, where ranks have unequal numbers of them."""

from __future__ import annotations

from torch import Tensor

from pretrain.objectives.gather import gather_constants, world_size


def global_mean(values_N: Tensor, counts_N: Tensor) -> Tensor:
    """The mean of the values that count, such that its mean over ranks is that of all ranks' values together.

    Args:
        values_N: one value a row; those that do not count may be anything, but must be finite.
        counts_N: which count, as bool. Where none does on any rank, the mean is 0, and so are its gradients.
    """
    number = gather_constants(counts_N.sum().reshape(1)).sum().clamp_min(1)
    return (values_N * counts_N).sum() * world_size() / number
