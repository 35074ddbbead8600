"""Runs img2dataset in this process, and ends with whoever started it: the script that the `peer` stage starts.

Takes one argument, the options of `img2dataset.download` as JSON, and a pipe as standard input. When the pipe closes,
because its owner ended it or was killed, this process and all those that img2dataset started are killed too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading


def end_with_owner() -> None:
    """Wait for the end of standard input, then kill this process group, which is one of our own."""
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Run to the end."""
    threading.Thread(target=end_with_owner, daemon=True).start()
    import img2dataset  # here: the processes that it starts import this file too

    img2dataset.download(**json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
