"""Models that fuse: sizes as published, rows that padding and neighbours do not touch, and every ZeRO stage alike."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pretrain.batch import IGNORED, Inputs, Pairs
from pretrain.zero import decay_groups

spec = importlib.util.spec_from_file_location("fused_scenarios", Path(__file__).parents[1] / "fused_scenarios.py")
fused = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fused)

NAMES = ("single_stream", "cross", "joint", "mixture", "captioner")
FUSING, HIDING = NAMES[:4], NAMES[:3]
STEPS = 3


def by_torch_alone(name, dtype=torch.float32):
    """The same steps in one process on the whole batch, without an engine."""
    model, (objective, _) = fused.model_of(name).to(dtype), fused.objective_of(name)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.2), lr=1.0, betas=(0.9, 0.98), eps=1e-6)
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 / (1 + step)
        inputs = fused.inputs_of(name, step, 0, 1)
        loss = objective(model(inputs), inputs)
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.values())
    return {"losses": losses, "state": {name: p.detach() for name, p in model.named_parameters()}}


@pytest.mark.parametrize("name", NAMES)
def test_stages_over_two_ranks_follow_one_process_on_the_whole_batch(ranks_once, name):
    """Every stage for one model; for the others the one that is closest to plain, and the one that is farthest."""
    stages = (0, 1, 2, 3) if name == "cross" else (0, 3)
    over_ranks = ranks_once("fused", 2, of="trajectories", names=[name], stages=stages, steps=STEPS)[0]
    plain, exact = by_torch_alone(name), by_torch_alone(name, torch.float64)["state"]
    for stage in stages:
        found = over_ranks[name, stage]
        for ours, theirs in zip(found["losses"], plain["losses"], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
        for parameter, value in plain["state"].items():
            if parameter.endswith(("key.bias", "k_proj.bias")):
                continue  # softmax does not feel it: Adam makes steps of rounding noise
            rounding = float((value.double() - exact[parameter]).abs().max())
            error = float((found["state"][parameter] - value).abs().max())
            assert error < max(1e-5, 4 * rounding), (stage, parameter, error, rounding)


@pytest.mark.parametrize("name", NAMES)
def test_everything_learns(name):
    model, (objective, _) = fused.model_of(name), fused.objective_of(name)
    inputs = fused.inputs_of(name, 0, 0, 1)
    objective(model(inputs), inputs).total.backward()
    assert [parameter for parameter, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", FUSING)
def test_padding_and_other_pairs_change_nothing(name):
    model = fused.model_of(name).eval().double()
    inputs = fused.inputs_of(name, 1, 0, 1)
    whole = model(inputs)
    longer = torch.nn.functional.pad(inputs.tokens_BL[:, :7], (0, 1), value=17)  # what stands after the end
    longer[:, 7] = torch.where((inputs.tokens_BL[:, 7] == 2), 17, inputs.tokens_BL[:, 7])
    again = model(inputs._replace(tokens_BL=longer))
    torch.testing.assert_close(whole.match_N2, again.match_N2, rtol=1e-9, atol=1e-9)
    one = Pairs(*(part[9:10] for part in whole.pairs))
    alone = Pairs(torch.tensor([0]), torch.tensor([0]), one.match_N, one.counts_N)
    images, tokens = inputs.images_BCHW[one.image_N], inputs.tokens_BL[one.text_N]
    found = model(Inputs(images, tokens, pairing=lambda *_: alone))
    torch.testing.assert_close(found.match_N2, whole.match_N2[9:10], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_side_that_is_not_given_is_skipped(name):
    model, inputs = fused.model_of(name).eval(), fused.inputs_of(name, 1, 0, 1)
    image, text = model(Inputs(inputs.images_BCHW, None)), model(Inputs(None, inputs.tokens_BL))
    both = model(Inputs(inputs.images_BCHW, inputs.tokens_BL))
    assert image.text_BD is None
    assert text.image_BD is None
    if name != "single_stream":
        torch.testing.assert_close(image.image_BD, both.image_BD)
        torch.testing.assert_close(text.text_BD, both.text_BD)
        torch.testing.assert_close(both.text_BD.norm(dim=1), torch.ones(fused.BATCH))


@pytest.mark.parametrize("name", HIDING)
def test_a_batch_without_hidden_words_costs_nothing(name):
    model, (objective, _) = fused.model_of(name), fused.objective_of(name)
    inputs = fused.inputs_of(name, 0, 0, 1)
    inputs = inputs._replace(word_targets_BL=torch.full_like(inputs.tokens_BL, IGNORED))
    loss = objective(model(inputs), inputs)
    assert loss.parts["masked_words"].item() == 0.0
    assert loss.total.isfinite()
    loss.total.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("name", ["mixture", "captioner"])
def test_captions_are_told_from_left_to_right(name):
    """What stands after a place cannot be seen from it; what stands before it, and the image, can."""
    model, inputs = fused.model_of(name).eval().double(), fused.inputs_of(name, 1, 0, 1)
    row = int((inputs.tokens_BL == 1).nonzero()[:, 1].argmax())
    image, tokens = inputs.images_BCHW[row : row + 1], inputs.tokens_BL[row : row + 1]
    length = int((tokens[0] == 1).nonzero()[0, 0])
    assert length > 3
    told = model(Inputs(image, tokens, captions=True))
    assert told.next_words_M.tolist() == tokens[0, 1 : length + 1].tolist()
    other = tokens.clone()
    other[0, 3] = 4 + (other[0, 3] - 3) % 30
    again = model(Inputs(image, other, captions=True)).next_words_MV
    torch.testing.assert_close(again[:3], told.next_words_MV[:3], rtol=1e-9, atol=1e-9)
    assert (again[3:] - told.next_words_MV[3:]).abs().max() > 1e-6
    assert (model(Inputs(255 - image, tokens, captions=True)).next_words_MV - told.next_words_MV).abs().max() > 1e-6
