"""Momentum distillation: a slow copy of the model teaches it, and remembers rows of past batches (ALBEF, 2107.07651).

The teacher's parameters are an exponential mean of the student's. Its rows of the last batches stand in queues, one
per modality, as many more columns to tell the right one from; what it finds likely, beside the one right column, is
no mistake, and is a part of the target. It is outside the optimizer and outside the engine, the same on every rank,
and lies in every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.recipe import RecipeTable
from pretrain.batch import Inputs, Teaching
from pretrain.objectives.gather import gather_constants

FILE = "momentum.pt"
NOBODY = -1
"""Id of a place of a queue that nothing was written to; content ids have 63 bits, so none is negative."""


class MomentumConfig(RecipeTable):
    """The `[momentum]` table of a training recipe."""

    decay: float = Field(default=0.995, ge=0, lt=1)
    """Part of a teacher's parameter that stays at a step."""
    queue: int = Field(default=65_536, ge=1)
    """Rows of past batches that are kept, per modality."""
    alpha: float = Field(default=0.4, ge=0, lt=1)
    """Part of the targets that the teacher gives."""
    ramp_steps: int = Field(ge=0)
    """Steps over which `alpha` grows from 0; ALBEF: those of the first epoch."""


class Engine(Protocol):
    """What is followed, saved and loaded beside the teacher."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Whole parameters as the forward uses them."""

    def save(self, folder: Path) -> None:
        """Write this rank's share."""

    def load(self, folder: Path) -> None:
        """Read all shares."""


class Teacher:
    """The slow copy and its queues. Every method is collective; `model` has the student's first weights."""

    def __init__(self, model: nn.Module, config: MomentumConfig, width: int, device: torch.device) -> None:
        self.config = config
        self.model = model.to(device).eval().requires_grad_(False)
        self.rows_2QD = torch.zeros(2, config.queue, width, device=device)
        self.ids_2Q = torch.full((2, config.queue), NOBODY, device=device)
        self.written = 0

    @torch.no_grad()
    def teach(self, inputs: Inputs, step: int) -> Inputs:
        """The inputs with what the teacher sees in them, and what it remembers."""
        features = self.model(inputs._replace(pairing=None, captions=False))
        ramp = min(1.0, step / self.config.ramp_steps) if self.config.ramp_steps else 1.0
        own_2BD = torch.stack([features.image_BD, features.text_BD])
        ids_2B = torch.stack([inputs.image_ids_B, inputs.text_ids_B])
        teaching = Teaching(
            own_2BD=own_2BD,
            rows_2KD=torch.cat([_gathered(own_2BD), self.rows_2QD.to(own_2BD.dtype)], dim=1),
            ids_2K=torch.cat([_gathered(ids_2B), self.ids_2Q], dim=1),
            words_MV=features.words_MV,
            alpha=self.config.alpha * ramp,
        )
        return inputs._replace(teaching=teaching)

    @torch.no_grad()
    def follow(self, engine: Engine, inputs: Inputs) -> None:
        """After a step: move towards the student, and write the batch into the queues, where the oldest rows were."""
        own = dict(self.model.named_parameters())
        for name, parameter in engine.named_parameters():
            own[name].lerp_(parameter.detach().to(own[name].dtype), 1 - self.config.decay)
        size = self.config.queue
        new = inputs.teaching.ids_2K.shape[1] - size
        kept = min(new, size)  # of a batch larger than the queue, the last rows
        places = (self.written + torch.arange(new - kept, new, device=self.ids_2Q.device)) % size
        self.rows_2QD[:, places] = inputs.teaching.rows_2KD[:, new - kept : new].float()
        self.ids_2Q[:, places] = inputs.teaching.ids_2K[:, new - kept : new]
        self.written += new

    def state(self) -> dict[str, object]:
        """All that it learned."""
        return {
            "model": self.model.state_dict(),
            "rows": self.rows_2QD,
            "ids": self.ids_2Q,
            "written": self.written,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Take up what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.rows_2QD.copy_(state["rows"])
        self.ids_2Q.copy_(state["ids"])
        self.written = state["written"]


class WithTeacher:
    """An engine and its teacher as one training state."""

    def __init__(self, engine: Engine, teacher: Teacher) -> None:
        self.engine, self.teacher = engine, teacher

    def save(self, folder: Path) -> None:
        """Write this rank's share; the teacher, which is the same everywhere, on the first rank."""
        self.engine.save(folder)
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            torch.save(self.teacher.state(), folder / FILE)

    def load(self, folder: Path) -> None:
        """Read all shares, and the teacher."""
        self.engine.load(folder)
        self.teacher.restore(torch.load(folder / FILE, map_location=self.teacher.rows_2QD.device, weights_only=True))


def _gathered(sides_2BX: Tensor) -> Tensor:
    """Both sides' entries of all ranks in rank order."""
    return gather_constants(sides_2BX.transpose(0, 1).contiguous()).transpose(0, 1)
