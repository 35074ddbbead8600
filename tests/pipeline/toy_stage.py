"""A stage for tests of the engine: writes each part's id and word, as often as it is told to fail before."""

import os
from pathlib import Path

from pipeline.commit import read_commit
from pipeline.stage import Made, Resources


class Toy:
    name = "toy"
    version = 1
    resources = Resources(cpus=1)

    def __init__(self, word="a", fail_on=(), die_on=(), log=None):
        self.word, self.fail_on, self.die_on, self.log = word, fail_on, die_on, log

    def settings(self):
        return {"word": self.word}

    def setup(self):
        """Nothing to load."""

    def make(self, part, work):
        if self.log is not None:
            self._say(part.id)
        if part.id in self.fail_on:
            raise RuntimeError(f"cannot do {part.id}")
        if part.id in self.die_on:
            import signal

            if not (Path(self.log).parent / "died").exists():
                (Path(self.log).parent / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        before = "".join(read_commit(work.dataset, stage, id).facts["word"] for stage, id in part.inputs)
        local = work.scratch / "out.txt"
        local.write_text(f"{before}{self.word} {part.id}")
        return Made({f"{self.name}/{part.id}.txt": local}, 1, 1, {"ok": 1}, {"word": self.word})

    def _say(self, word):
        with Path(self.log).open("a") as stream:
            stream.write(word + "\n")


class Second(Toy):
    name = "second"


class Heavy(Toy):
    """Says in which process it is set up, as if it loaded a model there."""

    def setup(self):
        self._say(f"setup-{os.getpid()}")
