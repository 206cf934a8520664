"""The fan-out that every peer executes: ``root``, then the jobs that need it, then ``last``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.peers.watch_file import Moment, write_mark

ROOT = "root"
LAST = "last"
WIDTH = 32
"""How many jobs at once, as many as ours has threads, where the program has to say it: a tool that
is given all of them ends them faster than it can store their results."""

_VARIABLE = "PEERS_FAN_OUT"


@dataclass(frozen=True, slots=True)
class FanOut:
    """What to execute.

    Attributes:
        jobs: how many need the root; with the root and the last there are two more.
        seconds: how long each job takes.
        watch: the watch file's path; None where no job writes a mark, and each is a no-op.
    """

    jobs: int
    seconds: float = 0.0
    watch: str | None = None

    @property
    def middle(self) -> tuple[str, ...]:
        """Names of the jobs between the first and the last."""
        return tuple(f"job_{position}" for position in range(self.jobs))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all the jobs."""
        return (ROOT, *self.middle, LAST)

    def run_job(self, name: str) -> str:
        """The body of a job, in whatever process and thread the tool runs it; its name."""
        if self.watch is None:
            return name
        write_mark(Path(self.watch), Moment.BEGAN, name)
        time.sleep(self.seconds)
        write_mark(Path(self.watch), Moment.ENDED, name)
        return name

    def to_environment(self) -> dict[str, str]:
        """Variables that tell it to a process, and to the processes which that one starts."""
        return {_VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> FanOut:
        """What the parent process said."""
        return cls(**json.loads(os.environ[_VARIABLE]))


class Tool(Protocol):
    """One tool, open in this process, with what it has stored in the folder it was given."""

    def run(self) -> int:
        """Execute the fan-out from its start to its end; how many results the last job saw."""
        ...

    def recover(self) -> int:
        """Bring the fan-out of a killed process to its end; how many results the last job saw."""
        ...
