"""What an objective is: a loss of features, which holds no model and knows no trainer.

A recipe names its objectives as tables, each with a weight, and `Objectives` adds them up:

    [objective.infonce]
    false_negatives = "mask"
    max_scale = 100.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pretrain.batch import Features, Inputs


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss in nats, mean over this rank's rows: `total` to differentiate, `parts` to look at."""

    total: Tensor
    parts: dict[str, Tensor]

    def values(self) -> list[float]:
        """The total, then the parts; one transfer from the device."""
        return torch.stack([self.total.detach().double(), *(part.double() for part in self.parts.values())]).tolist()


class Objective(Protocol):
    """One term of a loss. All its randomness comes from torch's generator, which is seeded for every step."""

    ranges: Mapping[str, tuple[float, float]]
    """Name of a parameter of the model -> the range it is held in after every step."""

    def ask(self, inputs: Inputs) -> Inputs:
        """The inputs with what the model needs beside the batch to give this objective its features."""

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """The loss of this rank's rows, such that its mean over ranks is that of the whole batch."""


class Objectives:
    """Objectives added up with their weights; an objective itself."""

    def __init__(self, terms: Mapping[str, tuple[float, Objective]]) -> None:
        """`terms`: name -> weight and objective. Names go in front of parts."""
        self.terms = terms
        self.ranges = {name: held for _, term in terms.values() for name, held in term.ranges.items()}

    def ask(self, inputs: Inputs) -> Inputs:
        """The inputs with what every term asks."""
        for _, term in self.terms.values():
            inputs = term.ask(inputs)
        return inputs

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """The weighted sum; parts are the terms before they are weighted, and theirs."""
        total, parts = None, {}
        for name, (weight, term) in self.terms.items():
            loss = term(features, inputs)
            total = weight * loss.total if total is None else total + weight * loss.total
            parts[name] = loss.total.detach()
            parts |= {f"{name}/{part}": value for part, value in loss.parts.items()}
        assert total is not None, "a recipe without an objective does not load"
        return Loss(total, parts)
