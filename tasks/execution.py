"""What the tasks of one flow run share: a runtime, a walk, and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from factory_runtime.bootstrap import Runtime
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.engine import Walk
from factory_runtime.services.topic_slots import urgency
from tasks.gate import Gate
from tasks.threads import in_thread

AT_ENTRANCE = 4
"""Tasks that Prefect prepares at once, before their jobs begin. It takes milliseconds of the event
loop for each: were a thousand let in together, the first would begin when the last is ready."""


@dataclass(eq=False)
class Execution:
    """One flow run at work. It stays in this process and is never handed to Prefect to keep.

    Attributes:
        attempts: attempts under way, by job name, so that a cancel can stop them.
        later: jobs whose task has ended though they have not, and when they go on.
        at_work: jobs whose task is under way.
        stopping: no attempt may begin any more, and those under way give up.
        leaving: this process is to end: jobs under way finish, others are for the next one.
        version: of the run, as it was seen last.
        heard: the run's version and its jobs that wait, when the store was asked last when those
            go on.
        entrance: limits how many tasks Prefect prepares at once; the urgent go in first.
        slots: limits how many jobs are at work at once; likewise.
        renders: limits how many render children run at once.
    """

    runtime: Runtime
    walk: Walk
    slots: Gate
    renders: asyncio.Semaphore
    attempts: dict[str, Begun] = field(default_factory=dict[str, Begun])
    later: dict[str, AnotherAttempt] = field(default_factory=dict[str, AnotherAttempt])
    at_work: set[str] = field(default_factory=set[str])
    stopping: bool = False
    leaving: bool = False
    version: int = 0
    heard: tuple[int, dict[str, AnotherAttempt]] | None = None
    entrance: Gate = field(default_factory=lambda: Gate(AT_ENTRANCE))

    @property
    def begins_jobs(self) -> bool:
        """Whether another job may begin."""
        return not self.stopping and not self.walk.suspending.is_set()

    def bring_forward(self, name: str, due: datetime) -> None:
        """Have a job that waits go on at this time, where that is sooner than was known."""
        later = self.later[name]
        if due < later.not_before:
            self.later[name] = replace(later, not_before=due)
            self.walk.jobs[name] = replace(self.walk.jobs[name], not_before=due)

    def put_off(self, jobs: Mapping[str, AnotherAttempt | None]) -> None:
        """Have jobs go on then; at once, or not at all if they have ended, where None is said."""
        for name, later in jobs.items():
            if name not in self.later:
                continue  # it has gone on meanwhile
            if later is not None:
                self.later[name] = later
            else:
                self.later.pop(name, None)

    def rank(self, name: str) -> int:
        """How urgent a job is: the lower starts first."""
        return urgency(self.walk.run, self.walk.plan.job(name).priority).rank

    async def stop(self) -> None:
        """Have every attempt under way give up; what they have started is killed."""
        self.stopping = True
        attempts = list(self.attempts.values())
        await asyncio.gather(*(in_thread(begun.stop) for begun in attempts))

    def leave(self) -> None:
        """Begin no other job; those under way finish, or stop at a safe point."""
        self.leaving = True
        self.walk.suspending.set()


class JobCall:
    """Names one job to a task. A plain object: Prefect looks into dataclasses and collections.

    Whoever makes it has gone through the execution's entrance.
    """

    def __init__(self, execution: Execution, name: str) -> None:
        self.execution = execution
        self.name = name
        self._inside = False

    def go_in(self) -> None:
        """Leave the entrance to the next; the first time counts."""
        if not self._inside:
            self._inside = True
            self.execution.entrance.leave()
