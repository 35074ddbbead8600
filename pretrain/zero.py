"""The engine: DeepSpeed ZeRO around one model. The only module that imports DeepSpeed.

It makes the DeepSpeed settings from a recipe, splits parameters into those that decay and those that do not,
runs forward, backward and step, holds the logit scale inside its range on the float32 master, and saves, loads
and gathers parameters under every stage.

Facts it rests on, read in DeepSpeed 0.19.8:
- `gradient_clipping` became 1.0 by default in 0.19.3, so it is always written out.
- `safe_set_full_fp32_param` writes the master alone; the working copy keeps the old value until the next step.
- On gloo, DeepSpeed compiles a shared-memory operator with g++ that only inference uses; it is switched off.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.errors import TrainingError
from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs

_TAG = "zero"


class ZeroConfig(RecipeTable):
    """The `[zero]` table of a training recipe: what is split over the ranks."""

    stage: Literal[0, 1, 2, 3]
    """0 nothing; 1 optimizer states; 2 and gradients; 3 and parameters."""
    communication: Literal["fp32", "bf16"] = "fp32"
    """Type that gradients are averaged in."""
    bucket_elements: int = Field(default=50_000_000, ge=1)
    """Elements of one reduction or gather."""
    persistent_elements: int = Field(default=100_000, ge=0)
    """Stage 3: a parameter smaller than this is kept whole on every rank."""


class OptimizerConfig(RecipeTable):
    """The `[optimizer]` table of a training recipe."""

    name: Literal["adamw"]
    """`adamw`: torch's, so that no operator has to be compiled."""
    lr: float = Field(gt=0)
    """Peak learning rate."""
    betas: tuple[float, float]
    """Decay of the first and second moments; CLIP's ViTs: [0.9, 0.98]."""
    eps: float = Field(gt=0)
    """Added to the root of the second moment; CLIP's ViTs: 1e-6."""
    weight_decay: float = Field(ge=0)
    """For matrices; biases, norms, class token and logit scale do not decay."""
    max_grad_norm: float = Field(gt=0)
    """The gradient of all parameters together is clipped to this length."""


class EngineSettings(RecipeTable):
    """What the engine takes from a recipe."""

    zero: ZeroConfig
    optimizer: OptimizerConfig
    precision: Literal["fp32", "bf16"]
    batch_size: int
    """Samples of all ranks in one step."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of one optimizer step. `applied` is False where a gradient overflowed and the step was skipped."""

    grad_norm: float
    applied: bool


def deepspeed_settings(settings: EngineSettings, world: int) -> dict[str, Any]:
    """The settings that DeepSpeed is given; nothing that decides numerics is left to its defaults."""
    bf16 = settings.precision == "bf16"
    stage = settings.zero.stage
    made: dict[str, Any] = {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": settings.batch_size // world,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.optimizer.max_grad_norm,
        "communication_data_type": settings.zero.communication,
        "prescale_gradients": False,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
        "bf16": {"enabled": bf16 and stage > 0, "check_grad_overflow": bf16 and stage > 0},
        "fp16": {"enabled": False},
        # One backward per step, so nothing accumulates; said so that stage 1 takes the same optimizer as stage 2.
        "data_types": {"grad_accum_dtype": "bf16" if bf16 and stage > 0 else "fp32"},
        "zero_optimization": {"stage": stage},
    }
    if bf16 and stage == 0:
        # DeepSpeed's own bf16 at stage 0 gives gradients of another size than stages 1 to 3 do (measured on 0.19.8:
        # AdamW's first step is a quarter shorter), so stage 0 keeps fp32 parameters and computes in bf16.
        made["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if stage > 0:
        made["zero_optimization"] |= {
            "reduce_bucket_size": settings.zero.bucket_elements,
            "allgather_bucket_size": settings.zero.bucket_elements,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "round_robin_gradients": False,
        }
    if stage == 3:
        made["zero_optimization"] |= {
            "stage3_param_persistence_threshold": settings.zero.persistent_elements,
            "stage3_prefetch_bucket_size": settings.zero.bucket_elements,
            "stage3_gather_16bit_weights_on_model_save": False,
        }
    return made


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices decay, everything of one dim or none does not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


class ZeroEngine:
    """One model under DeepSpeed. Every method is collective: all ranks call it, in the same order."""

    def __init__(self, model: nn.Module, settings: EngineSettings, device: torch.device) -> None:
        deepspeed = _deepspeed(device)
        self.settings = settings
        self.device = device
        optimizer = torch.optim.AdamW(
            decay_groups(model, settings.optimizer.weight_decay),
            lr=settings.optimizer.lr,
            betas=settings.optimizer.betas,
            eps=settings.optimizer.eps,
        )
        world = torch.distributed.get_world_size()
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=deepspeed_settings(settings, world), dist_init_required=False
        )

    def forward(self, inputs: Inputs) -> Features:
        """The model's one forward, with gradients."""
        self._engine.train()
        return self._engine(inputs)

    @torch.no_grad()
    def answer(self, inputs: Inputs) -> Features:
        """The model's one forward, for evaluation."""
        self._engine.eval()
        return self._engine(inputs)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Whole parameters as the forward uses them; not under stage 3, which keeps none."""
        assert self.settings.zero.stage < 3, "a recipe that follows parameters does not load with stage 3"
        return self._engine.module.named_parameters()

    def step(self, loss: Tensor, lr: float) -> StepReport:
        """Backward of `loss` (mean over this rank's rows), averaged over ranks; clip; one AdamW step at `lr`."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.backward(loss)
        norm = self._plain_grad_norm() if self.settings.zero.stage == 0 else None
        self._engine.step()
        if norm is None:
            norm = self._engine.get_global_grad_norm()
        return StepReport(float(norm), self._engine.was_step_applied())

    def _plain_grad_norm(self) -> Tensor:
        """Length of the gradient before clipping; DeepSpeed does not tell it at stage 0."""
        grads = [parameter.grad for parameter in self._engine.module.parameters() if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(grads)

    @torch.no_grad()
    def clamp(self, name: str, low: float, high: float) -> None:
        """Hold the parameter `name` inside [low, high]: its float32 master and its working copies."""
        parameter = self._engine.module.get_parameter(name)
        for copy in self._copies(parameter):
            copy.clamp_(low, high)

    def _copies(self, parameter: nn.Parameter) -> Iterator[Tensor]:
        """This rank's storage of a parameter, masters first. A clamp is elementwise, so parts may be clamped alone."""
        from deepspeed.utils import safe_get_local_fp32_param

        if hasattr(parameter, "ds_id"):
            yield safe_get_local_fp32_param(parameter)
            yield parameter.ds_tensor.data
        elif self.settings.zero.stage > 0:
            mapping = parameter._hp_mapping  # None where the master lies on another rank
            if mapping is not None:
                yield mapping.get_hp_fragment().data
        yield parameter.data

    def full_state(self) -> dict[str, Tensor]:
        """Name -> whole float32 parameter on the CPU, from the masters; filled on rank 0, empty elsewhere."""
        keep = torch.distributed.get_rank() == 0
        state = {}
        for name, parameter in self._engine.module.named_parameters():
            whole = self._whole(parameter)
            if keep:
                state[name] = whole.detach().float().cpu().clone()
        return state

    def _whole(self, parameter: nn.Parameter) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param

        return parameter.data if self.settings.zero.stage == 0 else safe_get_full_fp32_param(parameter)

    def save(self, folder: Path) -> None:
        """Write this rank's share of the training state into `folder`, which may be its own or shared."""
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)
        for script in folder.glob("*.py"):  # DeepSpeed's copies of its own conversion scripts
            script.unlink(missing_ok=True)

    def load(self, folder: Path) -> None:
        """Read the training state that all ranks wrote, brought together in `folder`."""
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=_TAG, load_lr_scheduler_states=False)
        if loaded is None:
            raise TrainingError(f"{folder}: DeepSpeed finds no state to load. Delete this checkpoint and run again.")

    def close(self) -> None:
        """Give back DeepSpeed's hooks and buffers."""
        self._engine.destroy()


def consolidated(folder: Path, stage: int) -> dict[str, Tensor]:
    """Name -> whole float32 parameter of a saved training state, without a process group or the ranks that wrote it."""
    _deepspeed(torch.device("cpu"))
    if stage > 0:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # it prints
            return dict(get_fp32_state_dict_from_zero_checkpoint(str(folder), tag=_TAG))
    states = torch.load(folder / _TAG / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=False)
    return {name: tensor.float() for name, tensor in states["module"].items()}


def import_before_joining(device: torch.device) -> None:
    """Import what looks at the process group while it is imported; call it before there is one.

    Functions of torch and DeepSpeed have the default group of that moment as a default argument, and would hold on to
    it until the process ends (see `leave`).
    """
    import torch.distributed._shard.sharded_tensor
    import torch.distributed.nn.functional  # noqa: F401

    _deepspeed(device)


def leave() -> None:
    """Destroy the process group and let go of everything that holds on to it, so that its threads end here.

    A gloo thread that still runs when Python ends may drop the last tensor of a collective then. It asks for Python's
    lock, is ended by it inside a destructor, and takes the process down with SIGABRT, after all work was done.
    """
    from deepspeed import comm

    groups = list(torch.distributed.distributed_c10d._world.pg_map)
    torch.distributed.destroy_process_group()
    comm.comm.cdb = None
    # DeepSpeed keeps engines, and with them their groups, beyond `destroy`: stage 3 in a list of modules and in hooks
    # of autograd that no garbage collector sees into. So whoever names a group is given none.
    for group in groups:
        for holder in gc.get_referrers(group):
            if holder is groups:
                continue
            places = holder if isinstance(holder, dict | list) else getattr(holder, "__dict__", {})
            pairs = enumerate(places) if isinstance(places, list) else places.items()
            for place in [place for place, value in pairs if value is group]:
                places[place] = None


def _deepspeed(device: torch.device) -> Any:
    """DeepSpeed, imported for `device` and tied to the standing process group, if there is one."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed refuses a world of one that no launcher started
    # DeepSpeed calls collectives by names that torch 2.13 deprecates; the user can do nothing about it.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    import deepspeed
    import deepspeed.ops

    # The operator is compiled with g++ when a process group is wrapped; inference alone uses it. DeepSpeed keeps
    # this table in one dict so that edits to it persist.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if torch.distributed.is_initialized() and not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(
            dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False
        )
    return deepspeed
