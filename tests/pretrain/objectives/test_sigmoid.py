import numpy as np
import pytest
import torch

from pretrain.batch import Features
from pretrain.models.parallel import unit_rows
from pretrain.objectives.sigmoid import sigmoid
from pretrain.objectives.tiled import PairIds, Tiling


def by_hand(image, text, scale, bias, same):
    """The definition, pair by pair, in numpy."""
    total = 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1 if i == j else -1
            if i == j or not same[i][j]:
                total += np.log1p(np.exp(-sign * (scale * image[i] @ text[j] + bias)))
    return total / len(image)


@pytest.mark.parametrize("side", [1, 4, 100])
@pytest.mark.parametrize("masked", [True, False])
def test_equals_the_definition_pair_by_pair(side, masked):
    torch.manual_seed(0)
    image, text = unit_rows(torch.randn(9, 6).double()), unit_rows(torch.randn(9, 6).double())
    image_ids, text_ids = torch.tensor([0, 1, 2, 0, 4, 5, 6, 7, 8]), torch.tensor([0, 1, 2, 3, 4, 5, 5, 7, 5])
    same = (image_ids[:, None] == image_ids) | (text_ids[:, None] == text_ids)
    scale, bias = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-10.0, dtype=torch.float64)
    ids = PairIds(image_ids, text_ids) if masked else None
    found = sigmoid(Features(image, text, scale, bias), ids, Tiling(side)).total
    wanted = by_hand(image.numpy(), text.numpy(), 10.0, -10.0, (same & masked).tolist())
    assert found.item() == pytest.approx(wanted, rel=1e-12)


def test_refuses_a_model_without_a_bias():
    with pytest.raises(ValueError, match="initial_bias"):
        sigmoid(Features(torch.ones(2, 3), torch.ones(2, 3), torch.tensor(1.0)), None)
