"""Why runs stand where they do, for who may see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.services.read_standing import Onlooker, Queue, read_standing
from factory_runtime.services.standing import Reason
from factory_runtime.wire.standing import ReasonAnswer


def waits_of(
    runtime: Runtime, who: Principal, run: Run, jobs: Iterable[Job]
) -> tuple[ReasonAnswer, ...]:
    """What keeps a run and its jobs; those that are at work are told of too."""
    onlooker, now = _onlooker(runtime), runtime.clock.now()
    found = read_standing(onlooker, run, jobs, now).reasons
    return _told(runtime, who, found)


def waits_of_many(
    runtime: Runtime, who: Principal, runs: Collection[Run]
) -> Mapping[str, tuple[ReasonAnswer, ...]]:
    """What keeps each that is open, by id; the queue is looked at once."""
    onlooker, now = _onlooker(runtime), runtime.clock.now()
    queue = Queue(onlooker, now)
    waiting = (run for run in runs if not run.ended)
    return {run.id: _told(runtime, who, _of(onlooker, run, now, queue)) for run in waiting}


def _of(onlooker: Onlooker, run: Run, now: datetime, queue: Queue) -> tuple[Reason, ...]:
    return read_standing(onlooker, run, (), now, queue).reasons


def _onlooker(runtime: Runtime) -> Onlooker:
    # Who serves the API does not see who executes: a stack of this home, or workers anywhere.
    return runtime.onlooker(executed=True)


def _told(
    runtime: Runtime, who: Principal, reasons: tuple[Reason, ...]
) -> tuple[ReasonAnswer, ...]:
    """Runs that hold a limit are named where they are theirs to see, and counted where not."""
    if who.projects(Right.READ) is not None:
        reasons = tuple(_of_theirs(runtime, who, one) for one in reasons)
    return tuple(ReasonAnswer(**asdict(one)) for one in reasons)


def _of_theirs(runtime: Runtime, who: Principal, reason: Reason) -> Reason:
    if not reason.holders:
        return reason
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        seen = tuple(
            one for one in reason.holders if who.may(Right.READ, tx.get_run(one).project_id)
        )
    return replace(reason, holders=seen, others=reason.others + len(reason.holders) - len(seen))
