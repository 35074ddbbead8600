"""One rank of a test: python worker.py SCENARIO FOLDER. Its result goes to FOLDER/<rank>.pt."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def train(recipe, run):
    """The real thing."""
    from pretrain.train import train_func

    return train_func({"recipe": recipe, "run": run})


def main():
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    arguments = json.loads((folder / "arguments.json").read_text())
    result = globals()[scenario](**arguments)
    torch.save(result, folder / f"{os.environ['RANK']}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
