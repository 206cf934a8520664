"""What the tasks of one flow run share: a runtime, a walk, and limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from factory_runtime.bootstrap import Runtime
from factory_runtime.services.attempt import Begun
from factory_runtime.services.engine import Walk


@dataclass
class Execution:
    """One flow run at work. It stays in this process and is never handed to Prefect to keep.

    Attributes:
        attempts: attempts under way, by job name, so that a cancel can stop them.
        stopping: no attempt may begin any more.
        lost: another process has taken the run over.
        renders: limits how many render children run at once.
    """

    runtime: Runtime
    walk: Walk
    renders: asyncio.Semaphore
    attempts: dict[str, Begun] = field(default_factory=dict[str, Begun])
    stopping: bool = False
    lost: bool = False

    def stop(self) -> None:
        """Ask every attempt under way to give up; their children are killed."""
        self.stopping = True
        for begun in list(self.attempts.values()):
            begun.stopped.set()


class JobCall:
    """Names one job to a task. A plain object: Prefect looks into dataclasses and collections."""

    def __init__(self, execution: Execution, name: str) -> None:
        self.execution = execution
        self.name = name
