"""The learning rate as a function of the step alone, so that a resumed run needs no state for it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from pipeline.recipe import RecipeTable


class ScheduleConfig(RecipeTable):
    """The `[schedule]` table of a training recipe."""

    name: Literal["cosine"]
    """`cosine`: linear warm-up from 0, then half a cosine down to the floor at the last step."""
    warmup_steps: int = Field(ge=0)
    """Steps of linear warm-up; the first step already moves."""
    floor_ratio: float = Field(ge=0, le=1)
    """Learning rate at the end, as a part of the peak."""


def lr_ratio(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """Learning rate of `step` (counted from 0) as a part of the peak, in [0, 1]."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step + 1 - config.warmup_steps) / max(num_steps - config.warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return config.floor_ratio + (1 - config.floor_ratio) * cosine
