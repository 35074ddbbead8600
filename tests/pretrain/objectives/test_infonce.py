import numpy as np
import pytest
import torch

from pretrain.batch import Features
from pretrain.models.parallel import unit_rows
from pretrain.objectives.infonce import infonce
from pretrain.objectives.tiled import PairIds


def by_hand(image, text, scale, image_ids, text_ids):
    """The definition, row by row, in numpy."""
    total = 0.0
    for left, right in ((image, text), (text, image)):
        for i in range(len(left)):
            logits = [scale * left[i] @ right[j] for j in range(len(right))]
            equal = [j != i and (image_ids[i] == image_ids[j] or text_ids[i] == text_ids[j]) for j in range(len(right))]
            total += np.log(sum(np.exp(x) for x, same in zip(logits, equal, strict=True) if not same)) - logits[i]
    return total / (2 * len(image))


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_equals_the_definition_row_by_row(scale):
    torch.manual_seed(0)
    image, text = unit_rows(torch.randn(9, 6).double()), unit_rows(torch.randn(9, 6).double())
    image_ids, text_ids = torch.tensor([0, 1, 2, 0, 4, 5, 6, 7, 8]), torch.tensor([0, 1, 2, 3, 4, 5, 5, 7, 5])
    found = infonce(Features(image, text, torch.tensor(scale, dtype=torch.float64)), PairIds(image_ids, text_ids)).total
    wanted = by_hand(image.numpy(), text.numpy(), scale, image_ids.tolist(), text_ids.tolist())
    assert found.item() == pytest.approx(wanted, rel=1e-12)


def test_a_false_negative_is_out_of_the_denominator_only_where_ids_are_given():
    rows = unit_rows(torch.eye(3)[[0, 0, 1]])
    features = Features(rows, rows, torch.tensor(50.0))
    ids = PairIds(torch.tensor([7, 7, 8]), torch.tensor([1, 2, 3]))
    assert infonce(features, ids).total.item() == pytest.approx(0.0, abs=1e-6)
    assert infonce(features, None).total.item() == pytest.approx(2 / 3 * np.log(2), rel=1e-5)


def test_a_batch_of_one_content_has_no_negatives_and_no_loss():
    rows = unit_rows(torch.randn(4, 3))
    ids = PairIds(torch.zeros(4, dtype=torch.int64), torch.arange(4))
    assert infonce(Features(rows, rows, torch.tensor(10.0)), ids).total.item() == pytest.approx(0.0, abs=1e-6)


def test_refuses_sides_of_unequal_shape():
    with pytest.raises(ValueError, match="equal shape"):
        infonce(Features(torch.ones(2, 3), torch.ones(3, 3), torch.tensor(1.0)), None)
