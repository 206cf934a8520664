"""A run's cycles that have ended, each as it was, however far the run has gone since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus

_JOB_ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.SKIPPED})


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended in a cycle.

    Attributes:
        base: its step in the template: ``apply-domain`` of ``apply-domain[order]``.
        attempt: its last one; None where none was begun.
    """

    name: str
    base: str
    type: str
    status: JobStatus
    at: datetime
    error: str = ""
    skip_reason: SkipReason | None = None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle that has ended.

    Attributes:
        reason: why the whole run was ended from outside, if it was.
        plan_digest: of the plan that it went by, where another has taken its place since.
        changed: names of the inputs that were changed for it.
        ends: of the jobs that ended in it.
    """

    number: int
    status: RunStatus
    at: datetime
    reason: str = ""
    plan_digest: str | None = None
    changed: tuple[str, ...] = ()
    ends: tuple[JobEnd, ...] = ()


@dataclass(slots=True)
class _Open:
    """A cycle while its events are read."""

    number: int = 0
    changed: tuple[str, ...] = ()
    plan_before: str | None = None
    ended: RunEvent | None = None
    jobs: dict[str, RunEvent] = field(default_factory=dict[str, RunEvent])


def base_step(name: str) -> str:
    """The step that a job is of."""
    return name.partition("[")[0]


def last_cycle(run: Run, jobs: Iterable[Job], attempts: Iterable[Attempt]) -> Cycle:
    """The cycle that an ended run ended in, as its jobs stand: all of one that has no other."""
    tried = {(one.step, one.number): one for one in attempts}
    ends = (
        JobEnd(
            name=job.step,
            base=base_step(job.step),
            type=job.type,
            status=job.status,
            at=job.completed_at or job.updated_at,
            error=job.error or "",
            skip_reason=job.skip_reason,
            attempt=tried.get((job.step, job.attempt)),
        )
        for job in jobs
        if job.status in _JOB_ENDED
    )
    at = run.completed_at or run.updated_at
    return Cycle(run.cycle, run.status, at, run.error or "", ends=tuple(ends))


def cycles_of(
    jobs: Sequence[Job], attempts: Iterable[Attempt], events: Iterable[RunEvent]
) -> tuple[Cycle, ...]:
    """The cycles that have ended, of a run that went round again: its events know them all.

    Args:
        jobs: as they stand now, for their types.
        attempts: all there were.
        events: all there were, in their order.
    """
    tried = {(one.step, one.number): one for one in attempts}
    types = {job.step: job.type for job in jobs}
    opened = list(_read(events))
    cycles: list[Cycle] = []
    for place, one in enumerate(opened):
        if one.ended is None:
            continue
        later = (after.plan_before for after in opened[place + 1 :] if after.plan_before)
        ends = (_end(event, types, tried) for event in one.jobs.values())
        cycles.append(
            Cycle(
                number=one.number,
                status=RunStatus(str(one.ended.to_status)),
                at=one.ended.at,
                reason=_reason(one.ended),
                plan_digest=next(later, None),
                changed=one.changed,
                ends=tuple(end for end in ends if end.status in _JOB_ENDED),
            )
        )
    return tuple(cycles)


def _read(events: Iterable[RunEvent]) -> Iterator[_Open]:
    cycle = _Open()
    for event in events:
        # Jobs are Pending again before their run is Queued: by then the cycle has ended.
        if event.kind == "job" and event.step is not None and cycle.ended is None:
            cycle.jobs[event.step] = event
        if event.kind != "run":
            continue
        if event.to_status in RUN_ENDED:
            cycle.ended = event
        elif event.to_status == RunStatus.QUEUED and cycle.ended is not None:
            yield cycle
            cycle = _begun(event, cycle.number + 1)
    yield cycle


def _begun(event: RunEvent, number: int) -> _Open:
    names: Any = event.detail.get("inputs")
    changed = tuple(map(str, cast("Collection[Any]", names))) if isinstance(names, list) else ()
    before = event.detail.get("plan_before")
    return _Open(number, changed, str(before) if before else None)


def _end(
    event: RunEvent, types: Mapping[str, str], tried: Mapping[tuple[str, int], Attempt]
) -> JobEnd:
    name = event.step or ""
    number = event.detail.get("attempt")
    skipped = event.detail.get("reason") if event.to_status == JobStatus.SKIPPED else None
    return JobEnd(
        name=name,
        base=base_step(name),
        type=types.get(name, ""),
        status=JobStatus(str(event.to_status)),
        at=event.at,
        error=_reason(event),
        skip_reason=SkipReason(skipped) if skipped in set(SkipReason) else None,
        attempt=tried.get((name, number)) if isinstance(number, int) else None,
    )


def _reason(event: RunEvent) -> str:
    return str(event.detail.get("reason") or "")
