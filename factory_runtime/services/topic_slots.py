"""Caps of topics: how many jobs of a type are at work at once, of a tenant's and of all.

A claim decides with the topic's row held, so that no two claims, of whatever process, see the same
room. A type without a cap has no row and costs nothing. Who finds no room stands in line: it comes
back now and then, and goes before those that are less urgent or came later, for as long as it is
seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, Run
from factory_runtime.ports import JobKey, RunTransaction
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.engine import Engine
from factory_runtime.services.turns import limits_or_none

STALE = timedelta(seconds=15)
"""A job that was not seen for so long waits for its topic no more: its process has ended."""

SOONEST = timedelta(seconds=0.5)
LATEST = timedelta(seconds=5)
"""When a job in line looks again: the first one soon, those far behind seldom, none too late to be
seen."""

_FOR_EACH_BEFORE = timedelta(seconds=0.25)


@dataclass(frozen=True, slots=True)
class TopicCaps:
    """What is known of a topic's caps.

    Attributes:
        everybody: jobs of all tenants; None is no cap.
        by_tenant: of those tenants alone that have one of their own.
    """

    everybody: int | None
    by_tenant: Mapping[str, int]


def find_caps(engine: Engine, tenant_id: str, topic: str) -> TopicCaps | None:
    """The caps that a job of this type is under; None where there is none.

    Reads the store where there is one: call it outside of transactions.

    Raises:
        PolicyUnavailableError: the tenant's cannot be read.
    """
    everybody, own = engine.topic_caps.get(topic), engine.limits_of(tenant_id).topics.get(topic)
    if everybody is None:
        return None if own is None else TopicCaps(None, {tenant_id: own})
    with engine.store.begin_dispatch(read_only=True) as look:
        waits = look.topic(topic).waits(engine.clock.now() - STALE)
    others = {wait.tenant_id for wait in waits} - {tenant_id}
    by_tenant = {} if own is None else {tenant_id: own}
    for other in others:
        limits = limits_or_none(engine.limits_of, other)
        # What cannot be read lets nothing start, so nothing has to wait for it.
        if (cap := 0 if limits is None else limits.topics.get(topic)) is not None:
            by_tenant[other] = cap
    return TopicCaps(everybody, by_tenant)


def before(
    mine: TopicWait, waits: Iterable[TopicWait], at_work: Sequence[JobKey], caps: TopicCaps
) -> int | None:
    """How many go before this job; None where there is room for it now.

    Those whose own tenant has no room stand in the way of nobody else's.
    """
    taken = Counter(key.tenant_id for key in at_work)

    def has_room(tenant_id: str) -> bool:
        own = caps.by_tenant.get(tenant_id)
        everybody = caps.everybody
        return (everybody is None or taken.total() < everybody) and (
            own is None or taken[tenant_id] < own
        )

    ahead = 0
    for wait in sorted(waits, key=_place):
        same = caps.everybody is not None or wait.tenant_id == mine.tenant_id
        if not same or _job(wait) == _job(mine) or _place(wait) > _place(mine):
            continue
        ahead += 1
        if has_room(wait.tenant_id):
            taken[wait.tenant_id] += 1
    return None if has_room(mine.tenant_id) else ahead


def refuse(
    tx: RunTransaction, run: Run, job: Job, caps: TopicCaps, now: datetime
) -> AnotherAttempt | None:
    """None where the job may be claimed in this transaction; else when it looks again.

    Hold the run's row.
    """
    topic = tx.lock_topic(job.type)
    known = tx.find_topic_wait(run.id, job.step)
    mine = TopicWait(
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=job.step,
        topic=job.type,
        priority=urgency(run, job.priority),
        since=now if known is None else known.since,
        seen_at=now,
    )
    at_work = topic.at_work()
    ahead = before(mine, topic.waits(now - STALE), at_work, caps)
    if ahead is None:
        if known is not None:
            tx.drop_topic_waits(run.id, job.step)
        return None
    tx.save_topic_wait(mine)
    look_at = now + min(SOONEST + ahead * _FOR_EACH_BEFORE, LATEST)
    return AnotherAttempt(look_at, Outcome.WAITING, _reason(mine, at_work, caps, ahead))


def unreadable(engine: Engine, error: PolicyUnavailableError) -> AnotherAttempt:
    """Put a job off whose caps cannot be read: what is not known allows nothing."""
    return AnotherAttempt(engine.clock.now() + LATEST, Outcome.WAITING, error.explain())


def urgency(run: Run, priority: Priority) -> Priority:
    """A job's priority; one whose step says nothing has its run's."""
    return run.priority if priority is Priority.NORMAL else priority


def _place(wait: TopicWait) -> tuple[int, datetime, str, str, str]:
    return (wait.priority.rank, wait.since, *_job(wait))


def _job(wait: TopicWait) -> tuple[str, str, str]:
    return (wait.tenant_id, wait.run_id, wait.step)


def _reason(mine: TopicWait, at_work: Sequence[JobKey], caps: TopicCaps, ahead: int) -> str:
    own = caps.by_tenant.get(mine.tenant_id)
    count = sum(key.tenant_id == mine.tenant_id for key in at_work)
    is_own = own is not None and count >= own
    cap, count = (own, count) if is_own else (caps.everybody, len(at_work))
    return f"{count} of {cap} jobs of type {mine.topic} are at work, and {ahead} go before it"
