import math

import pytest
import torch

from pipeline.recipe import check
from pretrain.batch import Features, Inputs, Teaching
from pretrain.objectives.momentum_contrast import MomentumContrast, MomentumContrastConfig


def problem(alpha):
    generator = torch.Generator().manual_seed(0)
    own, taught, queue = (torch.randn(2, n, 5, generator=generator, dtype=torch.float64) for n in (4, 4, 6))
    own, taught, queue = (rows / rows.norm(dim=-1, keepdim=True) for rows in (own, taught, queue))
    ids = torch.tensor([[1, 2, 3, 1], [11, 12, 13, 14]])  # the first and the last are one picture
    old = torch.tensor([[2, 7, 8, -1, 9, -1], [90, 91, 13, -1, 92, -1]])  # once the picture of 2, once the text of 3
    teaching = Teaching(taught, torch.cat([taught, queue], dim=1), torch.cat([ids, old], dim=1), None, alpha)
    features = Features(own[0].requires_grad_(), own[1].requires_grad_(), torch.tensor(9.0, dtype=torch.float64))
    return features, Inputs(None, None, ids[0], ids[1], teaching=teaching)


def by_hand(features, inputs):
    """Loops over rows and columns."""
    teaching, total = inputs.teaching, 0.0
    for own, side, other in ((features.image_BD.detach(), 0, 1), (features.text_BD.detach(), 1, 0)):
        for row in range(4):
            columns = []
            for column in range(10):
                ids = [(int(left[row]), int(right[column])) for left, right in
                       zip((inputs.image_ids_B, inputs.text_ids_B), teaching.ids_2K, strict=True)]  # fmt: skip
                equal = any(left == right for left, right in ids)
                if column == row or not (equal or ids[0][1] == -1):
                    columns.append(column)
            said = [float(9 * own[row] @ teaching.rows_2KD[other, column]) for column in columns]
            taught = [float(9 * teaching.own_2BD[side, row] @ teaching.rows_2KD[other, column]) for column in columns]
            log_sum, soft_sum = math.log(sum(map(math.exp, said))), sum(map(math.exp, taught))
            for column, logit, soft in zip(columns, said, taught, strict=True):
                target = teaching.alpha * math.exp(soft) / soft_sum + (1 - teaching.alpha) * (column == row)
                total -= target * (logit - log_sum) / 8
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_the_loss_is_that_of_its_formula_without_equal_content_and_empty_places(alpha):
    features, inputs = problem(alpha)
    objective = MomentumContrast(check(MomentumContrastConfig, {"max_scale": 100.0}, where="test"))
    loss = objective(features, inputs)
    assert loss.total.item() == pytest.approx(by_hand(features, inputs), rel=1e-12)
    loss.total.backward()
    assert features.image_BD.grad.isfinite().all()
    assert objective.ranges == {"logit_scale": (0.0, pytest.approx(math.log(100)))}


def test_without_a_teacher_it_says_so():
    features, inputs = problem(0.4)
    objective = MomentumContrast(check(MomentumContrastConfig, {"max_scale": 100.0}, where="test"))
    with pytest.raises(ValueError, match="there is no teacher"):
        objective(features, inputs._replace(teaching=None))
