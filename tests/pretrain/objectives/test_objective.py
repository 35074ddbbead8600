import pytest
import torch

from pipeline.errors import RecipeError
from pipeline.recipe import check
from pretrain.batch import Features, Inputs
from pretrain.objectives.objective import Loss, Objectives
from pretrain.objectives.table import OBJECTIVES, ObjectiveConfig, objectives


class Constant:
    """An objective of one number, which asks for one token more."""

    def __init__(self, value):
        self.ranges = {}
        self.value = torch.tensor(float(value), requires_grad=True)

    def ask(self, inputs):
        return inputs._replace(tokens_BL=torch.cat([inputs.tokens_BL, inputs.tokens_BL[:, :1]], dim=1))

    def __call__(self, features, inputs):
        return Loss(self.value**2, {"raw": self.value.detach()})


def test_terms_add_up_with_their_weights_and_keep_their_names():
    first, second = Constant(2), Constant(3)
    both = Objectives({"first": (1.0, first), "second": (0.1, second)})
    inputs = both.ask(Inputs(None, torch.zeros(2, 4, dtype=torch.int64)))
    assert inputs.tokens_BL.shape == (2, 6)
    loss = both(Features(None, None, torch.tensor(1.0)), inputs)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(4 + 0.9)
    assert (first.value.grad.item(), second.value.grad.item()) == pytest.approx((4.0, 0.6))
    assert {name: float(value) for name, value in loss.parts.items()} == {
        "first": 4, "first/raw": 2, "second": 9, "second/raw": 3,
    }  # fmt: skip
    assert loss.values() == pytest.approx([4.9, 4, 2, 9, 3])


def test_the_scale_is_held_where_the_objective_says():
    config = check(ObjectiveConfig, {"infonce": {"false_negatives": "keep", "max_scale": 100.0}}, where="test")
    assert objectives(config).ranges == {"logit_scale": (0.0, pytest.approx(4.60517, abs=1e-5))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no objective is named; wanted at least one of infonce"),
        ({"infonec": {}}, "Did you mean 'infonce'"),
        ({"infonce": {"weight": 0, "false_negatives": "keep", "max_scale": 100.0}}, "infonce.weight is 0"),
    ],
)
def test_a_wrong_objective_is_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        check(ObjectiveConfig, settings, where="test")


def test_every_objective_of_the_table_has_its_settings():
    assert set(OBJECTIVES) == set(ObjectiveConfig.model_fields)
