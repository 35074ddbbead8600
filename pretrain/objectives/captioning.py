"""Captioning: the next word, by the image and the words before (CoCa, arXiv:2205.01917; BLIP, arXiv:2201.12086)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.mean import global_mean
from pretrain.objectives.objective import Loss


class CaptioningConfig(RecipeTable):
    """The `[objective.captioning]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives; CoCa: 2."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Part of the target that is spread over all words; BLIP: 0.1."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("captions",)


class Captioning:
    """Cross entropy of the next word as an objective; start is given, end is asked for, padding is neither."""

    def __init__(self, config: CaptioningConfig) -> None:
        self.config = config
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """That texts are told word by word."""
        return inputs._replace(captions=True)

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean over the words of all ranks, in nats; ln V for a model that knows nothing."""
        assert features.next_words_MV is not None
        assert features.next_words_M is not None
        logits_MV, targets_M = features.next_words_MV.float(), features.next_words_M
        smoothing = self.config.label_smoothing
        losses_M = functional.cross_entropy(logits_MV, targets_M, reduction="none", label_smoothing=smoothing)
        all_M = torch.ones_like(targets_M, dtype=torch.bool)
        right_M = (logits_MV.argmax(dim=1) == targets_M).float()
        return Loss(global_mean(losses_M, all_M), {"accuracy": global_mean(right_M, all_M).detach()})
