"""Training under Ray Train: one worker per process group rank, on this machine or on a cluster.

This is the only module of `cluster` that imports Ray's train client.
"""

from __future__ import annotations

import os
from typing import Any

from cluster.site import TrainSite
from pipeline.engine import EngineConfig, ray_session
from pipeline.errors import PairmillError, TrainingError


def launch(config: dict[str, Any], site: TrainSite, address: str | None) -> None:
    """Run train_func on `site.workers` Ray workers. Raises: TrainingError: a worker failed."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    with ray_session(EngineConfig(place="ray", address=address)):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        on_gpu = site.gpus_per_worker > 0
        threads = str(max(1, int(site.cpus_per_worker)))
        environment = {"OMP_NUM_THREADS": threads} | ({} if on_gpu else {"DS_ACCELERATOR": "cpu"})
        resources = {"CPU": site.cpus_per_worker} | ({"GPU": site.gpus_per_worker} if on_gpu else {})
        trainer = TorchTrainer(
            _worker,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=site.workers, use_gpu=on_gpu, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=os.path.join(config["run"], "launcher"),
                failure_config=FailureConfig(max_failures=site.max_failures),
                worker_runtime_env={"env_vars": environment},
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise _told(error) from error


def _worker(config: dict[str, Any]) -> None:
    from pretrain.train import train_func

    train_func(config)


def _told(error: BaseException) -> PairmillError:
    """The error a worker raised, out of the layers that Ray puts around it."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank, inner in sorted(failures.items()):
        cause = getattr(inner, "cause", inner)
        if isinstance(cause, PairmillError):
            return cause
        return TrainingError(f"rank {rank}: {type(cause).__name__}: {_last_line(cause)}")
    return TrainingError(f"Ray Train: {_last_line(error)}")


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
