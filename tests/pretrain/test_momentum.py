"""The teacher: an exact mean of its student, queues that wrap around, and a state that resumes to the bit."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pipeline.errors import RecipeError
from pipeline.recipe import check
from pipeline.store import Store
from pretrain.batch import Inputs
from pretrain.checkpoint import newest
from pretrain.momentum import NOBODY, MomentumConfig, Teacher
from pretrain.recipe import TrainingRecipe

spec = importlib.util.spec_from_file_location("fused_scenarios", Path(__file__).with_name("fused_scenarios.py"))
fused = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fused)

OBJECTIVE = {"momentum_contrast": {"max_scale": 100.0}, "matching": {"negatives": "hard"}, "masked_words": {}}
MOMENTUM = {"decay": 0.9, "queue": 20, "alpha": 0.4, "ramp_steps": 4}


class Student:
    """An engine whose parameters are given."""

    def __init__(self, model):
        self.named_parameters = model.named_parameters


def teacher_of(queue=20, decay=0.9):
    config = MomentumConfig(decay=decay, queue=queue, alpha=0.4, ramp_steps=4)
    return Teacher(fused.model_of("cross"), config, 8, torch.device("cpu"))


def test_parameters_are_the_exponential_mean_of_the_students():
    teacher, student = teacher_of(), fused.model_of("cross")
    wanted = {name: parameter.detach().double().clone() for name, parameter in student.named_parameters()}
    for step in range(5):
        inputs = teacher.teach(fused.inputs_of("cross", step, 0, 1), step)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn(parameter.shape))
        teacher.follow(Student(student), inputs)
        for name, parameter in student.named_parameters():
            wanted[name] = 0.9 * wanted[name] + 0.1 * parameter.detach().double()
    for name, parameter in teacher.model.named_parameters():
        torch.testing.assert_close(parameter.double(), wanted[name], rtol=0, atol=1e-5)
        assert not parameter.requires_grad


@pytest.mark.parametrize("queue", [3, 8, 20, 21])
def test_queues_hold_the_last_rows_wherever_they_wrap(queue):
    """8 rows a step; the queue need not divide by them, and may be smaller."""
    teacher, student = teacher_of(queue=queue), fused.model_of("cross")
    rows, ids = [], []
    for step in range(6):
        inputs = fused.inputs_of("cross", step, 0, 1)
        inputs = inputs._replace(image_ids_B=torch.arange(8) + 100 * step, text_ids_B=torch.arange(8) + 100 * step + 50)
        inputs = teacher.teach(inputs, step)
        seen = inputs.teaching
        assert seen.alpha == pytest.approx(0.4 * min(1, step / 4))
        torch.testing.assert_close(seen.rows_2KD[:, :8], seen.own_2BD)
        filled = seen.ids_2K[0, 8:] != NOBODY
        assert filled.sum() == min(8 * step, queue)
        remembered = {(int(a), int(b)) for a, b in seen.ids_2K[:, 8:][:, filled].T}
        assert remembered == set(ids[-queue:])
        for place in filled.nonzero()[:, 0].tolist():
            row = rows[ids.index(tuple(seen.ids_2K[:, 8 + place].tolist()))]
            torch.testing.assert_close(seen.rows_2KD[:, 8 + place], row)
        teacher.follow(Student(student), inputs)
        rows += list(seen.own_2BD.unbind(dim=1))
        ids += list(zip(inputs.image_ids_B.tolist(), inputs.text_ids_B.tolist(), strict=True))


def test_a_state_that_is_taken_up_is_the_same():
    teacher, student, other = teacher_of(), fused.model_of("cross"), teacher_of()
    for step in range(3):
        teacher.follow(Student(student), teacher.teach(fused.inputs_of("cross", step, 0, 1), step))
    other.restore(teacher.state())
    inputs = fused.inputs_of("cross", 3, 0, 1)
    for left, right in zip(teacher.teach(inputs, 3).teaching, other.teach(inputs, 3).teaching, strict=True):
        assert torch.equal(torch.as_tensor(left), torch.as_tensor(right))


@pytest.mark.parametrize("stage", [0, 2])
def test_a_broken_run_goes_on_to_the_same_bits(scenes, settings_of, ranks_once, tmp_path, stage):
    text = fused.MODELS["cross"]["text"] | {"context_tokens": 16}
    settings = settings_of(
        scenes, model=fused.MODELS["cross"] | {"text": text}, objective=OBJECTIVE, momentum=MOMENTUM,
        zero__stage=stage, eval__rerank=0,
    )  # fmt: skip
    runs = [str(tmp_path / name) for name in ("whole", "broken")]
    ranks_once("breaks_and_resumes", 2, jobs=[(settings, *runs)], after_steps=5)
    whole, broken = (newest(Store(run)) for run in runs)
    assert whole.files == broken.files
    assert any(stamp.name.endswith("momentum.pt") for stamp in whole.files)
    state = torch.load(Path(runs[0], whole.folder, "momentum.pt"), weights_only=True)
    assert state["written"] == 6 * 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": MOMENTUM, "zero__stage": 3}, "zero.stage 3 with .momentum.: .* set zero.stage to 0, 1 or 2"),
        ({}, r"a table \[objective.momentum_contrast\] and none \[momentum\]; they go together"),
    ],
)
def test_what_cannot_go_together_is_refused(settings_of, changes, message):
    settings = settings_of("x", model=fused.MODELS["cross"], objective=OBJECTIVE, **changes)
    with pytest.raises(RecipeError, match=message):
        check(TrainingRecipe, settings, where="test")


def test_a_teacher_without_a_use_is_refused(settings_of):
    with pytest.raises(RecipeError, match=r"a table \[momentum\] and none \[objective.momentum_contrast\]"):
        check(TrainingRecipe, settings_of("x", momentum=MOMENTUM), where="test")
    assert Inputs(None, None).teaching is None
