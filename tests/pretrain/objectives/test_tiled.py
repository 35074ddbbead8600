"""Losses in tiles against the same losses with all logits at once, and over ranks against one process."""

import pytest
import torch
from torch.nn import functional

from pretrain.models.parallel import unit_rows
from pretrain.objectives.tiled import PairIds, Tiling, contrast, pairwise_sigmoid


def problem(rows, dtype, scale):
    generator = torch.Generator().manual_seed(1)
    image, text = (unit_rows(torch.randn(rows, 8, generator=generator).double()).to(dtype) for _ in range(2))
    ids = PairIds(*torch.randint(0, rows // 2, (2, rows), generator=generator))
    numbers = [torch.tensor(value, dtype=torch.promote_types(dtype, torch.float32)) for value in (scale, -2.0)]
    return [tensor.requires_grad_() for tensor in (image, text, *numbers)], ids


def dense(values, ids):
    """Both losses as a B x B matrix; the first is the mean of both directions."""
    image, text, scale, bias = values
    cosines = image.to(scale.dtype) @ text.to(scale.dtype).T
    same = torch.zeros_like(cosines, dtype=torch.bool)
    if ids is not None:
        same = (ids.image_B[:, None] == ids.image_B) | (ids.text_B[:, None] == ids.text_B)
        same &= ~torch.eye(len(image), dtype=torch.bool)
    logits = (scale * cosines).masked_fill(same, -torch.inf)
    targets = torch.arange(len(image))
    softmax = (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2
    signs = 2 * torch.eye(len(image), dtype=scale.dtype) - 1
    losses = -functional.logsigmoid(signs * (scale * cosines + bias)).masked_fill(same, 0.0)
    return softmax, losses.sum() / len(image)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-10), (torch.float32, 2e-5), (torch.bfloat16, 2e-3)])
@pytest.mark.parametrize("side", [1, 7, 16, 64])
@pytest.mark.parametrize("masked", [True, False])
def test_tiles_equal_all_logits_at_once_at_a_scale_of_100(dtype, bar, side, masked):
    values, ids = problem(37, dtype, 100.0)
    ids = ids if masked else None
    for found, wanted in zip(
        (contrast(*values[:3], ids, Tiling(side)).mean(), pairwise_sigmoid(tuple(values), ids, Tiling(side))),
        dense(values, ids),
        strict=True,
    ):
        assert found.item() == pytest.approx(wanted.item(), rel=bar)
        grads = [torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True) for loss in (found, wanted)]
        for left, right in zip(*grads, strict=True):
            if right is not None:
                assert left.dtype == right.dtype
                assert (left - right).abs().max() <= bar * right.abs().max()


def test_the_gradients_are_those_of_finite_differences():
    values, ids = problem(6, torch.float64, 5.0)
    assert torch.autograd.gradcheck(lambda *three: contrast(*three, ids, Tiling(4)), values[:3])
    assert torch.autograd.gradcheck(lambda *four: pairwise_sigmoid(four, ids, Tiling(4)), values)


def test_logits_far_beyond_what_exp_can_hold_stay_finite():
    values, _ = problem(8, torch.float32, 1e4)
    loss = contrast(*values[:3], None, Tiling(3)).mean()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss, values[:3]))


LOSSES = ["infonce", "sigmoid", "without"]


@pytest.fixture(scope="module")
def one_process(ranks_once):
    return ranks_once("contrast", 1, dtypes=["float64", "float32"], losses=LOSSES)[0]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_gradients_over_ranks_equal_one_process_on_the_whole_batch(one_process, ranks_once, world):
    """Encoders, scale and bias; and the control: with keys that are constants, the comparison fails."""
    ranks = ranks_once("contrast", world, dtypes=["float64", "float32"], losses=LOSSES)
    names = ("loss", "image", "text", "scale", "bias")
    for dtype, rtol in (("float64", 1e-10), ("float32", 1e-6)):
        for loss in ("infonce", "sigmoid"):
            for found in ranks:
                pairs = zip(names, found[dtype, loss], one_process[dtype, loss], strict=False)
                errors = {name: float((left - right).abs().max() / right.abs().max()) for name, left, right in pairs}
                assert max(errors.values()) < rtol, (dtype, loss, errors)
        wanted = one_process[dtype, "infonce"]
        value, image, text, scale = ranks[0][dtype, "without"]
        assert torch.allclose(value, wanted[0], rtol=1e-6)
        assert torch.allclose(scale, wanted[3], rtol=1e-5)
        assert (image - wanted[1]).abs().max() / wanted[1].abs().max() > 0.05
        assert (text - wanted[2]).abs().max() / wanted[2].abs().max() > 0.05
