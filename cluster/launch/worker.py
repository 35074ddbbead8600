"""One training process under torchrun: `python -m cluster.launch.worker CONFIG.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.errors import PairmillError


def main() -> int:
    """Read the config, train, and put an error of ours on one line."""
    from pretrain.train import train_func

    config = json.loads(Path(sys.argv[1]).read_text())
    try:
        train_func(config)
    except PairmillError as error:
        sys.stderr.write(f"pairmill {type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
