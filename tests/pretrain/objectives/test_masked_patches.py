import pytest
import torch

from pipeline.recipe import check
from pretrain.batch import IGNORED, Features, Inputs
from pretrain.objectives.masked_pair import MaskedPair, MaskedPairConfig
from pretrain.objectives.masked_patches import MaskedPatches, MaskedPatchesConfig, patch_targets
from pretrain.tokenize import WordTable

WORDS = WordTable(3, (0, 1, 2, 3), (), tuple(range(4, 30)))


def images(number=5, side=24):
    return torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_as_many_patches_of_every_image_are_hidden_each_as_often():
    torch.manual_seed(0)
    objective = MaskedPatches(check(MaskedPatchesConfig, {"hidden_ratio": 0.4}, where="test"), 8)
    hidden = objective.ask(Inputs(images(4000), None)).hidden_patches_BP
    assert hidden.shape == (4000, 9)
    assert (hidden.sum(dim=1) == 4).all()
    often = hidden.double().mean(dim=0)
    assert ((often - 4 / 9).abs() < 4 * (4 / 9 * 5 / 9 / 4000) ** 0.5).all()


def test_targets_are_patches_in_the_order_of_a_vit_with_mean_0_and_deviation_1():
    pictures = images()
    pictures[0] = 77  # a plain image
    targets = patch_targets(pictures, 8)
    for place in range(9):
        top, left = divmod(place, 3)
        patch = pictures[1, :, 8 * top : 8 * top + 8, 8 * left : 8 * left + 8].double().flatten()
        wanted = (patch - patch.mean()) / patch.std()
        torch.testing.assert_close(targets[1, place].double(), wanted, rtol=1e-3, atol=1e-3)
    assert targets[0].abs().max() < 1e-2
    assert targets.isfinite().all()


def test_the_loss_is_the_mean_square_over_what_is_hidden():
    objective = MaskedPatches(check(MaskedPatchesConfig, {}, where="test"), 8)
    inputs = objective.ask(Inputs(images(), None))
    said = torch.randn(int(inputs.hidden_patches_BP.sum()), 192, requires_grad=True)
    loss = objective(Features(None, None, None, image_patches_MX=said), inputs).total
    wanted = (said - patch_targets(images(), 8)[inputs.hidden_patches_BP]).square().mean()
    torch.testing.assert_close(loss, wanted)
    nothing = objective(Features(None, None, None, image_patches_MX=torch.zeros_like(said)), inputs).total
    assert nothing.item() == pytest.approx(1.0, abs=0.01)


def test_a_pair_hides_on_both_sides_and_keeps_what_others_hid():
    objective = MaskedPair(check(MaskedPairConfig, {"word_prob": 0.5}, where="test"), WORDS, 8)
    tokens = torch.randint(4, 30, (5, 12), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    inputs = objective.ask(Inputs(images(), tokens))
    again = MaskedPatches(check(MaskedPatchesConfig, {}, where="test"), 8).ask(inputs)
    assert again.hidden_patches_BP is inputs.hidden_patches_BP
    asked = int((inputs.word_targets_BL != IGNORED).sum())
    words, patches = torch.zeros(asked, 30), torch.zeros(int(inputs.hidden_patches_BP.sum()), 192)
    loss = objective(Features(None, None, None, pair_words_MV=words, pair_patches_MX=patches), inputs)
    assert loss.total.item() == pytest.approx(torch.log(torch.tensor(30.0)).item() + 1.0, abs=0.02)
    assert set(loss.parts) == {"words", "patches", "accuracy"}
