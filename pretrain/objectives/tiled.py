"""Losses over all pairs of the global batch in memory that grows with the rows, not with their square.

A rank never holds the logits of its rows against all columns. It meets the columns one rank at a time, as a
broadcast, and of those one tile at a time; the backward computes every tile again (Inf-CL, arXiv:2410.17243). Every
pair is computed on one rank alone, which serves its row and its column: what a column's softmax sums over other
ranks' rows comes together in one exchange of B numbers per rank, what a column's gradient sums, in one reduction.

A rank's loss is that of its own B rows and its own B columns. Its backward gives the derivative of the sum of all
ranks' losses, so with data-parallel averaging the gradients of both encoders, of the scale and of the bias are those
of one process on the whole batch. The derivative that arrives from above must be the same number on all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pretrain.objectives.gather import Ranks


@dataclass(frozen=True, slots=True)
class PairIds:
    """Identities of the images and the texts of this rank's rows; equal ids mean equal content."""

    image_B: Tensor
    text_B: Tensor


@dataclass(frozen=True, slots=True)
class Tiling:
    """How pairs are met: `side` rows times `side` columns at once; columns come from `ranks`."""

    side: int
    ranks: Ranks = field(default_factory=Ranks)


TILING = Tiling(2048)
"""16 MB of logits at once, and few enough tiles that starting them costs nothing."""


class _Tile(NamedTuple):
    """Rows and columns of one tile, cosines of its pairs, and where a pair is left out (None: nowhere)."""

    rows: slice
    columns: slice
    cosine_RC: Tensor
    left_out_RC: Tensor | None


def contrast(image_BD: Tensor, text_BD: Tensor, scale: Tensor, ids: PairIds | None, tiling: Tiling) -> Tensor:
    """Cross entropy of this rank's images over all texts and of its texts over all images, mean over B, as [2]."""
    return _Contrast.apply(image_BD, text_BD, scale, ids, tiling)


def pairwise_sigmoid(features: tuple[Tensor, Tensor, Tensor, Tensor], ids: PairIds | None, tiling: Tiling) -> Tensor:
    """Sum over all columns of -log sigmoid(z (s u v + bias)), z = 1 on the diagonal and -1 off it, mean over B.

    Args:
        features: image rows, text rows, scale s and bias.
    """
    return _Sigmoid.apply(*features, ids, tiling)


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, image_BD: Tensor, text_BD: Tensor, scale: Tensor, ids: PairIds | None, tiling: Tiling
    ) -> Tensor:
        image_BD, text_BD, ranks = _wide(image_BD), _wide(text_BD), tiling.ranks
        all_ids = _gathered(ids, ranks)
        row_B = image_BD.new_full((len(image_BD),), -torch.inf)
        column_QB = image_BD.new_full((ranks.size(), len(text_BD)), -torch.inf)
        for other in range(ranks.size()):
            columns_BD = ranks.rows_of(other, text_BD)
            for tile in _tiles(image_BD, columns_BD, other, (ids, all_ids), tiling):
                logits_RC = tile.cosine_RC.mul_(scale)
                if tile.left_out_RC is not None:
                    logits_RC.masked_fill_(tile.left_out_RC, -torch.inf)
                _add_log_sum(row_B[tile.rows], logits_RC, dim=1)
                _add_log_sum(column_QB[other, tile.columns], logits_RC, dim=0)
        column_QB = ranks.log_sum(column_QB)
        context.save_for_backward(image_BD, text_BD, scale, row_B, column_QB)
        context.ids, context.all_ids, context.tiling = ids, all_ids, tiling
        right_B = scale * (image_BD * text_BD).sum(dim=1)
        return torch.stack([(row_B - right_B).mean(), (column_QB[ranks.rank()] - right_B).mean()])

    @staticmethod
    def backward(context: Any, grad_2: Tensor) -> tuple[Tensor | None, ...]:
        image_BD, text_BD, scale, row_B, column_QB = context.saved_tensors
        tiling, ids = context.tiling, (context.ids, context.all_ids)
        by_row, by_column = grad_2 / len(image_BD)
        sums = _Sums.of(image_BD, text_BD)
        for other in range(tiling.ranks.size()):
            columns_BD = tiling.ranks.rows_of(other, text_BD)
            grad_BD = torch.zeros_like(columns_BD)
            for tile in _tiles(image_BD, columns_BD, other, ids, tiling):
                logits_RC = tile.cosine_RC * scale
                if tile.left_out_RC is not None:
                    logits_RC.masked_fill_(tile.left_out_RC, -torch.inf)
                weight_RC = (logits_RC - row_B[tile.rows, None]).exp_().mul_(by_row)
                weight_RC.add_(logits_RC.sub_(column_QB[other, tile.columns]).exp_().mul_(by_column))
                sums.add(tile, weight_RC, (image_BD, columns_BD, grad_BD))
            sums.take(tiling.ranks.sum_for(other, grad_BD), other == tiling.ranks.rank())
        sums.add_diagonal(image_BD, text_BD, -(by_row + by_column))
        return sums.image_BD.mul_(scale), sums.text_BD.mul_(scale), sums.scale, None, None


class _Sigmoid(torch.autograd.Function):
    """No sum over columns stands between a logit and its gradient, so the forward makes the gradients as well."""

    @staticmethod
    def forward(
        context: Any,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor,
        bias: Tensor,
        ids: PairIds | None,
        tiling: Tiling,
    ) -> Tensor:
        image_BD, text_BD, ranks = _wide(image_BD), _wide(text_BD), tiling.ranks
        all_ids = _gathered(ids, ranks)
        total, sums, num_rows = image_BD.new_zeros(()), _Sums.of(image_BD, text_BD), len(image_BD)
        for other in range(ranks.size()):
            columns_BD = ranks.rows_of(other, text_BD)
            grad_BD = torch.zeros_like(columns_BD)
            for tile in _tiles(image_BD, columns_BD, other, (ids, all_ids), tiling):
                logits_RC = (tile.cosine_RC * scale).add_(bias)
                if tile.left_out_RC is not None:
                    logits_RC.masked_fill_(tile.left_out_RC, -torch.inf)
                total += functional.softplus(logits_RC).sum()
                sums.add(tile, logits_RC.sigmoid_(), (image_BD, columns_BD, grad_BD))
            sums.take(ranks.sum_for(other, grad_BD), other == ranks.rank())
        right_B = scale * (image_BD * text_BD).sum(dim=1) + bias
        sums.add_diagonal(image_BD, text_BD, image_BD.new_tensor(-1.0))
        image, text = sums.image_BD.mul_(scale), sums.text_BD.mul_(scale)
        context.save_for_backward(*(grad / num_rows for grad in (image, text, sums.scale, sums.bias)))
        return (total - right_B.sum()) / num_rows

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad * saved for saved in context.saved_tensors), None, None


@dataclass(slots=True)
class _Sums:
    """Gradients in the making; those of rows lack the factor s until the end."""

    image_BD: Tensor
    text_BD: Tensor
    scale: Tensor
    bias: Tensor

    @classmethod
    def of(cls, image_BD: Tensor, text_BD: Tensor) -> _Sums:
        return cls(
            torch.zeros_like(image_BD), torch.zeros_like(text_BD), image_BD.new_zeros(()), image_BD.new_zeros(())
        )

    def add(self, tile: _Tile, weight_RC: Tensor, sides: tuple[Tensor, Tensor, Tensor]) -> None:
        """Add what the derivatives `weight_RC` of the logits of a tile give to rows, columns, scale and bias."""
        image_BD, columns_BD, grad_BD = sides
        self.image_BD[tile.rows].addmm_(weight_RC, columns_BD[tile.columns])
        grad_BD[tile.columns].addmm_(weight_RC.T, image_BD[tile.rows])
        self.bias += weight_RC.sum()
        self.scale += tile.cosine_RC.mul_(weight_RC).sum()

    def take(self, grad_BD: Tensor, ours: bool) -> None:
        """The summed gradient of one rank's columns, kept where they are this rank's."""
        if ours:
            self.text_BD += grad_BD

    def add_diagonal(self, image_BD: Tensor, text_BD: Tensor, weight: Tensor) -> None:
        """Add what `weight` at every positive pair of this rank gives."""
        self.image_BD.add_(weight * text_BD)
        self.text_BD.add_(weight * image_BD)
        self.scale += weight * (image_BD * text_BD).sum()
        self.bias += weight * len(image_BD)


def _tiles(
    image_BD: Tensor,
    columns_BD: Tensor,
    other: int,
    ids: tuple[PairIds | None, PairIds | None],
    tiling: Tiling,
) -> Iterator[_Tile]:
    """Tiles of this rank's rows against the columns of rank `other`; `ids` are this rank's and all ranks'."""
    for top in range(0, len(image_BD), tiling.side):
        rows = slice(top, min(top + tiling.side, len(image_BD)))
        for left in range(0, len(columns_BD), tiling.side):
            columns = slice(left, min(left + tiling.side, len(columns_BD)))
            start = other * len(columns_BD)
            there = slice(start + columns.start, start + columns.stop)
            left_out_RC = None if ids[0] is None else _same_content(ids, rows, there)
            if left_out_RC is not None and other == tiling.ranks.rank() and top == left:
                left_out_RC.fill_diagonal_(False)
            yield _Tile(rows, columns, image_BD[rows] @ columns_BD[columns].T, left_out_RC)


def _same_content(ids: tuple[PairIds | None, PairIds | None], rows: slice, columns: slice) -> Tensor:
    """Where row and column have the same image or the same text, itself included, as bool RC."""
    ours, everyones = ids
    assert ours is not None
    assert everyones is not None
    return (ours.image_B[rows, None] == everyones.image_B[columns]) | (
        ours.text_B[rows, None] == everyones.text_B[columns]
    )


def _gathered(ids: PairIds | None, ranks: Ranks) -> PairIds | None:
    return None if ids is None else PairIds(ranks.gather(ids.image_B), ranks.gather(ids.text_B))


def _add_log_sum(so_far: Tensor, logits_RC: Tensor, dim: int) -> None:
    """so_far = log(exp(so_far) + sum of exp(logits) over `dim`), in place; logsumexp takes out the maximum."""
    so_far.copy_(torch.logaddexp(so_far, logits_RC.logsumexp(dim=dim)))


def _wide(rows_BD: Tensor) -> Tensor:
    """Logits of bf16 products would be off by 0.2 at a scale of 100, so tiles are computed in float32 at least."""
    return rows_BD if rows_BD.dtype == torch.float64 else rows_BD.float()
