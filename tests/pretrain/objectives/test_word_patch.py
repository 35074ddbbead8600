"""IPOT against an exact linear programme, and the loss against its definition."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from pipeline.recipe import check
from pretrain.batch import Features, Inputs, Pairs
from pretrain.objectives.word_patch import WordPatch, WordPatchConfig, transport


def exact(cost):
    """Least cost of carrying equal weights of rows to equal weights of columns."""
    rows, columns = cost.shape
    sums = np.zeros((rows + columns, rows * columns))
    for row in range(rows):
        sums[row, row * columns : (row + 1) * columns] = 1
    for column in range(columns):
        sums[rows + column, column::columns] = 1
    wanted = np.concatenate([np.full(rows, 1 / rows), np.full(columns, 1 / columns)])
    return linprog(cost.ravel(), A_eq=sums, b_eq=wanted, bounds=(0, None)).fun


def costs(seed, rows, columns):
    points = torch.randn(rows + columns, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True)
    return 1 - points[:rows] @ points[rows:].T


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (6, 6), (7, 4), (1, 9)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_iterations_find_the_cheapest_plan(rows, columns, seed):
    cost = costs(seed, rows, columns)
    plan = transport(cost[None], torch.ones(1, rows, dtype=torch.bool), beta=0.5, iterations=20_000)[0]
    assert float((cost * plan).sum()) == pytest.approx(exact(cost.numpy()), abs=1e-4)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((columns,), 1 / columns, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((rows,), 1 / rows, dtype=torch.float64), rtol=0, atol=1e-4)


def test_fifty_iterations_come_near_and_never_below_by_more_than_the_rows_are_off():
    for seed in range(5):
        cost = costs(seed, 5, 8)
        plan = transport(cost[None], torch.ones(1, 5, dtype=torch.bool), beta=0.5, iterations=50)[0]
        off = float((plan.sum(dim=1) - 1 / 5).abs().sum())
        found, best = float((cost * plan).sum()), exact(cost.numpy())
        assert best - 2 * off <= found < best + 0.05


def test_rows_that_are_not_there_carry_nothing_and_change_nothing():
    cost = costs(3, 5, 8)
    there = torch.tensor([[True, True, False, True, False]])
    padded = transport(cost[None], there, beta=0.5, iterations=50)[0]
    alone = transport(cost[there[0]][None], torch.ones(1, 3, dtype=torch.bool), beta=0.5, iterations=50)[0]
    torch.testing.assert_close(padded[there[0]], alone)
    assert padded[~there[0]].abs().sum() == 0


def test_the_loss_is_the_cost_of_true_pairs_less_that_of_wrong_ones_and_draws_true_ones_together():
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(4, 6, 8, generator=generator, requires_grad=True)
    image = torch.randn(4, 5, 8, generator=generator)
    match = torch.tensor([True, True, False, False])
    pairs = Pairs(torch.arange(4), torch.arange(4), match, torch.tensor([True, True, True, False]))
    shown = torch.ones(4, 6, dtype=torch.bool)
    shown[1, 3:] = False
    features = Features(
        None, None, None, pairs=pairs, pair_text_NLD=text, pair_shown_NL=shown, pair_image_NPD=image
    )  # fmt: skip
    objective = WordPatch(check(WordPatchConfig, {}, where="test"))
    loss = objective(features, Inputs(None, None))
    by_hand = []
    for pair in range(3):
        words = text[pair, 1:][shown[pair, 1:]].detach()
        cost = 1 - torch.nn.functional.cosine_similarity(words[:, None], image[pair, None, 1:], dim=-1)
        plan = transport(cost[None], torch.ones(1, len(words), dtype=torch.bool), 0.5, 50)[0]
        by_hand.append(float((cost * plan).sum()))
    assert loss.total.item() == pytest.approx((by_hand[0] + by_hand[1]) / 2 - by_hand[2], rel=1e-4)
    loss.total.backward()
    moved = features._replace(pair_text_NLD=(text - 0.5 * text.grad).detach())
    assert objective(moved, Inputs(None, None)).total < loss.total


def test_without_pairs_it_says_what_is_missing():
    with pytest.raises(ValueError, match=r"needs an \[objective.matching\] table"):
        WordPatch(check(WordPatchConfig, {}, where="test"))(Features(None, None, None), Inputs(None, None))
