"""Why a run stands where it does: which limit, who holds it, and what would change it.

Pure: facts in, reasons out. ``read_standing`` reads the facts, the command line puts the reasons
into words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from factory_runtime.domain.approval import Approval
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.records import Breaker, SetAside
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import SlotHolder


class ReasonKind(StrEnum):
    """What keeps a run, or a job of it, from going on."""

    CANCELLING = "cancelling"
    PAUSING = "pausing"
    PAUSED = "paused"
    HELD = "held"
    TIME = "time"
    ELSEWHERE = "elsewhere"
    PEOPLE = "people"
    QUEUE = "queue"
    SLOTS = "slots"
    TENANT_SLOTS = "tenant-slots"
    PROJECT_SLOTS = "project-slots"
    NO_LIMITS = "no-limits"
    SET_ASIDE = "set-aside"
    NOBODY = "nobody"
    APPROVAL = "approval"
    TOPIC = "topic"
    HOST = "host"
    RETRY = "retry"
    AT_WORK = "at-work"


@dataclass(frozen=True, slots=True)
class Reason:
    """One of the reasons.

    Attributes:
        step: the job that it keeps; None where it keeps the run.
        limit: what sets the limit, like ``FACTORY_MAX_RUNNING_RUNS``, or a key of the tenant's
            policy, like ``quotas.running_runs``.
        allowed, taken: of that limit.
        holders: ids of the tenant's own runs that hold it.
        others: runs of other tenants that hold it.
        position: in the tenant's queue, or in the topic's line, from 1; None where it is too far
            back to be told, or another reason tells it.
        overall: among the runs of all tenants, from 1; None likewise, or where a limit has to
            change first.
        until: when it goes on, is looked at again, or expires.
        about: what it waits for, as its record says it: a phrase, an error, a host, a worker, or
            the queue that its jobs were sent to.
        reference: the approval's id.
        by: who may decide.
        changes: what would change it: a command, or ``when …`` and ``with …``.
    """

    kind: ReasonKind
    step: str | None = None
    limit: str | None = None
    allowed: int | None = None
    taken: int | None = None
    holders: tuple[str, ...] = ()
    others: int = 0
    position: int | None = None
    overall: int | None = None
    until: datetime | None = None
    about: str | None = None
    reference: str | None = None
    by: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """All the reasons, the first to change first; none where the run is under way or has ended."""

    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands that wants a slot.

    Attributes:
        cap: slots of all.
        holders: who has one.
        limits: of its tenant; None where they cannot be read.
        position: in its tenant's queue.
        overall: whose turns come before it; None where a limit of its own has to change first, or
            it is too far back.
    """

    cap: int
    holders: tuple[SlotHolder, ...]
    limits: Limits | None
    position: int | None = None
    overall: int | None = None
    aside: SetAside | None = None


@dataclass(frozen=True, slots=True)
class TopicPlace:
    """A job in line for its topic: who holds it, and where the job stands. See ``Reason``."""

    limit: str
    allowed: int
    taken: int
    holders: tuple[str, ...]
    others: int
    position: int


@dataclass(frozen=True, slots=True)
class StandingFacts:
    """What there is to know.

    Attributes:
        executed: whether somebody is there to execute it.
        place: of a run that wants a slot.
        topics: of jobs in line for their topic, by step.
        breakers: of the hosts of which nothing is asked now.
        hosts: that a job's type needs, by type.
        approvals: of this run that are open.
    """

    run: Run
    now: datetime
    jobs: tuple[Job, ...] = ()
    executed: bool = True
    place: Place | None = None
    topics: Mapping[str, TopicPlace] = field(default_factory=dict[str, TopicPlace])
    breakers: tuple[Breaker, ...] = ()
    hosts: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    approvals: tuple[Approval, ...] = ()


def is_held(run: Run) -> bool:
    """Whether the run was put aside before anybody began it: it keeps its place in the queue."""
    waits = run.status in (RunStatus.REQUESTED, RunStatus.VALIDATED, RunStatus.QUEUED)
    return waits and run.admitted_at is None and run.pause_requested_at is not None


def wants_slot(run: Run, now: datetime) -> bool:
    """Whether it would begin at once, or go on, if it had a slot."""
    if run.ended or run.admitted_at is not None or run.cancel_requested_at is not None:
        return False
    if run.pause_requested_at is not None or run.status is RunStatus.PAUSED:
        return False
    if run.status is RunStatus.WAITING:
        return run.wake_at is not None and run.wake_at <= now
    return run.status is not RunStatus.REQUESTED


def standing_of(facts: StandingFacts) -> Standing:
    """Why the run stands where it does."""
    run = facts.run
    if run.ended:
        return Standing()
    reasons = [*_of_run(facts), *_of_jobs(facts)]
    if not (facts.executed or run.status is RunStatus.PAUSED or is_held(run)):
        reasons.append(Reason(ReasonKind.NOBODY, changes=("factory up",)))
    return Standing(tuple(reasons))


def _of_run(facts: StandingFacts) -> Iterator[Reason]:
    run = facts.run
    resume = (f"factory runs resume {run.id}",)
    if run.cancel_requested_at is not None:
        yield Reason(ReasonKind.CANCELLING)
    elif run.status is RunStatus.PAUSED:
        yield Reason(ReasonKind.PAUSED, changes=resume)
    elif is_held(run):
        yield Reason(ReasonKind.HELD, changes=resume)
    elif run.pause_requested_at is not None:
        yield Reason(ReasonKind.PAUSING, changes=resume)
    elif run.status is RunStatus.WAITING and not wants_slot(run, facts.now):
        yield _of_wait(facts)
    elif facts.place is not None and wants_slot(run, facts.now):
        yield from _of_place(run, facts.place)


def _of_wait(facts: StandingFacts) -> Reason:
    """Of a run that waits: for people alone, or for what its jobs say."""
    asked = {approval.step for approval in facts.approvals}
    waiting = {job.step for job in facts.jobs if job.status is JobStatus.WAITING}
    if asked and waiting <= asked:
        until = min(approval.expires_at for approval in facts.approvals)
        return Reason(ReasonKind.PEOPLE, until=until)
    places = sorted({job.routed_to for job in facts.jobs if job.routed_to is not None})
    if places:
        return Reason(ReasonKind.ELSEWHERE, about=", ".join(places))
    return Reason(ReasonKind.TIME, until=facts.run.wake_at, about=_phrases(facts.jobs))


def _of_place(run: Run, place: Place) -> Iterator[Reason]:
    if place.aside is not None:
        yield Reason(ReasonKind.SET_ASIDE, until=place.aside.until, about=place.aside.reason)
    if place.limits is None:
        yield Reason(ReasonKind.NO_LIMITS, changes=("factory policy check",))
    told = False
    for kind, limit, allowed, held in _limits(run, place):
        taken = [holder for holder in place.holders if held(holder)]
        own = sorted(one.run_id for one in taken if one.tenant_id == run.tenant_id)
        if allowed is not None and len(taken) >= allowed:
            yield Reason(
                kind,
                limit=limit,
                allowed=allowed,
                taken=len(taken),
                holders=tuple(own),
                others=len(taken) - len(own),
                position=None if told else place.position,
                overall=None if told else place.overall,
                changes=("when one of these runs ends", f"with a higher {limit}"),
            )
            told = True
    if not told and place.overall is not None and place.overall > 1:
        yield Reason(ReasonKind.QUEUE, position=place.position, overall=place.overall)


def _limits(
    run: Run, place: Place
) -> Iterator[tuple[ReasonKind, str, int | None, Callable[[SlotHolder], bool]]]:
    """Kind, name and number of each limit that a slot is under, and who counts."""
    limits = place.limits or Limits()
    yield ReasonKind.SLOTS, "FACTORY_MAX_RUNNING_RUNS", place.cap, lambda _: True
    yield (
        ReasonKind.TENANT_SLOTS,
        "quotas.running_runs",
        limits.running_runs,
        lambda holder: holder.tenant_id == run.tenant_id,
    )
    yield (
        ReasonKind.PROJECT_SLOTS,
        f"quotas.projects.{run.project_id}",
        limits.projects.get(run.project_id),
        lambda holder: (holder.tenant_id, holder.project_id) == (run.tenant_id, run.project_id),
    )


def _of_jobs(facts: StandingFacts) -> Iterator[Reason]:
    asked = {approval.step: approval for approval in facts.approvals}
    ended = {job.step for job in facts.jobs if job.ended}
    for job in facts.jobs:
        if job.step in asked:
            yield _of_approval(asked[job.step], facts.now)
        elif job.status is JobStatus.WAITING and job.routed_to is not None:
            yield Reason(ReasonKind.ELSEWHERE, job.step, about=job.phrase)
        elif job.status is JobStatus.WAITING:
            yield Reason(ReasonKind.TIME, job.step, until=job.not_before, about=job.phrase)
        elif job.status is JobStatus.RUNNING:
            yield Reason(
                ReasonKind.AT_WORK, job.step, until=job.lease_expires_at, about=job.lease_owner
            )
        elif job.status is JobStatus.PENDING and ended.issuperset(job.needs):
            yield from _of_ready(facts, job)


def _of_approval(approval: Approval, now: datetime) -> Reason:
    return Reason(
        ReasonKind.APPROVAL,
        approval.step,
        allowed=approval.count,
        until=approval.expires_at,
        about=approval.message,
        reference=approval.id,
        by=approval.deciders(now),
        changes=(f"factory approvals grant {approval.id}",),
    )


def _of_ready(facts: StandingFacts, job: Job) -> Iterator[Reason]:
    """Of a job that nothing in its run keeps."""
    if (line := facts.topics.get(job.step)) is not None:
        yield Reason(
            ReasonKind.TOPIC,
            job.step,
            limit=line.limit,
            allowed=line.allowed,
            taken=line.taken,
            holders=line.holders,
            others=line.others,
            position=line.position,
            about=job.type,
            changes=("when one of these jobs ends", f"with a higher {line.limit}"),
        )
    for breaker in facts.breakers:
        if breaker.host in facts.hosts.get(job.type, ()):
            yield Reason(ReasonKind.HOST, job.step, until=breaker.open_until, about=breaker.host)
    if job.not_before is not None and job.not_before > facts.now:
        yield Reason(ReasonKind.RETRY, job.step, until=job.not_before, about=job.error)


def _phrases(jobs: tuple[Job, ...]) -> str | None:
    waiting = [job.phrase for job in jobs if job.status is JobStatus.WAITING and job.phrase]
    return "; ".join(dict.fromkeys(waiting)) or None
