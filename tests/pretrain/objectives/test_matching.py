import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipe import check
from pretrain.batch import Features, Inputs, Pairs
from pretrain.objectives.matching import Matching, MatchingConfig, different, drawn, hard_pairs, random_pairs


def batch(image_ids, text_ids=None, width=4, scale=10.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, len(image_ids), width, generator=generator)
    image, text = rows / rows.norm(dim=-1, keepdim=True)
    ids = [torch.tensor(side) for side in (image_ids, text_ids or image_ids)]
    return Features(image, text, torch.tensor(scale)), Inputs(None, None, *ids)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(0, 1000))
def test_no_wrong_pair_is_right(image_ids, seed):
    """Neither by place nor by an equal picture or text, whatever is drawn."""
    torch.manual_seed(seed)
    features, inputs = batch(image_ids, [i * 7 % 5 for i in range(len(image_ids))], seed=seed)
    for choose, number in ((hard_pairs, 3), (random_pairs, 1)):
        pairs = choose(features, inputs)
        assert len(pairs.image_N) == number * len(image_ids)
        for image, text, match, counts in zip(*(part.tolist() for part in pairs), strict=True):
            equal = image == text or inputs.image_ids_B[image] == inputs.image_ids_B[text]
            equal = equal or bool(inputs.text_ids_B[image] == inputs.text_ids_B[text])
            if match:
                assert image == text
                assert counts
            elif counts:
                assert not equal


def test_hard_pairs_keep_one_side_of_each_row():
    features, inputs = batch(list(range(6)))
    pairs = hard_pairs(features, inputs)
    own = list(range(6))
    assert pairs.image_N[:6].tolist() == pairs.text_N[:6].tolist() == own
    assert pairs.text_N[6:12].tolist() == pairs.image_N[12:].tolist() == own
    assert pairs.match_N.tolist() == [True] * 6 + [False] * 12
    assert pairs.counts_N.all()


def test_draws_follow_the_weights():
    """Chi-squared of 20,000 draws of one row, with one column that it may not have."""
    torch.manual_seed(1)
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    may = torch.tensor([False, True, True, True, True])
    weights = (logits.softmax(0) + 1e-4) * may
    found, any_B = many_draws(logits, may)
    expected = weights / weights.sum() * 20_000
    counts = torch.bincount(found, minlength=5).double()
    assert any_B.all()
    assert counts[0] == 0
    statistic = float(((counts[1:] - expected[1:]) ** 2 / expected[1:]).sum())
    assert statistic < 16.27, "p < 0.001 at 3 degrees of freedom"


def many_draws(logits, may):
    """`drawn` takes squares; so 200 squares of 100 equal rows, of which the first five columns have weight."""
    found, ok = [], []
    weights = torch.zeros(100, 100)
    weights[:, :5] = logits.softmax(0)
    allowed = torch.zeros(100, 100, dtype=torch.bool)
    allowed[:, :5] = may
    for _ in range(200):
        columns, any_B = drawn(weights, allowed)
        found.append(columns)
        ok.append(any_B)
    return torch.cat(found), torch.cat(ok)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_nothing_is_nan_where_16_bits_overflow(dtype):
    features, inputs = batch(list(range(5)), scale=1e5)
    features = Features(*(part.to(dtype) for part in features[:3]))
    torch.manual_seed(0)
    pairs = hard_pairs(features, inputs)
    assert (pairs.image_N[5:] != pairs.text_N[5:]).all()


def test_a_batch_of_one_has_no_wrong_pair_and_a_finite_loss():
    features, inputs = batch([3])
    pairs = hard_pairs(features, inputs)
    assert pairs.counts_N.tolist() == [True, False, False]
    logits = torch.tensor([[0.0, 2.0], [9.0, 0.0], [9.0, 0.0]], requires_grad=True)
    objective = Matching(check(MatchingConfig, {"negatives": "hard"}, where="test"))
    loss = objective(features._replace(pairs=pairs, match_N2=logits), inputs)
    assert loss.total.item() == pytest.approx(math.log(1 + math.exp(-2.0)))
    loss.total.backward()
    assert logits.grad[1:].abs().sum() == 0


def test_the_loss_is_the_mean_over_pairs_that_count():
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    match = torch.tensor([True, False, True, False, False, True])
    counts = torch.tensor([True, True, True, False, True, False])
    pairs = Pairs(torch.zeros(6).long(), torch.zeros(6).long(), match, counts)
    objective = Matching(check(MatchingConfig, {"negatives": "random"}, where="test"))
    loss = objective(Features(None, None, None, pairs=pairs, match_N2=logits), Inputs(None, None))
    by_hand = [-math.log(math.exp(logits[n, int(match[n])]) / logits[n].exp().sum()) for n in (0, 1, 2, 4)]
    assert loss.total.item() == pytest.approx(sum(by_hand) / 4, rel=1e-6)
    assert loss.parts["accuracy"].item() == sum(int(logits[n].argmax() == match[n]) for n in (0, 1, 2, 4)) / 4


def test_half_of_the_images_are_replaced():
    torch.manual_seed(0)
    _, inputs = batch(list(range(2000)))
    pairs = random_pairs(Features(None, None, None), inputs)
    replaced = (pairs.image_N != pairs.text_N).float().mean().item()
    assert replaced == pytest.approx(0.5, abs=3 * math.sqrt(0.25 / 2000))
    assert (pairs.match_N == (pairs.image_N == pairs.text_N)).all()


def test_ids_are_asked_for():
    with pytest.raises(ValueError, match="wanted the ids of images and texts"):
        different(Inputs(None, None))
