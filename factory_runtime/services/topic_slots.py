"""Caps of topics: how many jobs of a type are at work at once, of a tenant's and of all.

A claim decides with the topic's row held, so that no two claims, of whatever process, see the same
room. A type without a cap has no row and costs nothing. Who finds no room stands in line
(``topic_line``) and looks again soon. Where all that a run could do stands in line for a while, the
run is put down; it keeps its place, and whoever ends a job calls those whose turn has come. Should
nobody live to call them, they come back by themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import FactoryError, PolicyUnavailableError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import EVERYBODY, RunStore, RunTransaction, TopicQueue
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.engine import Engine, Walk, hold_walk
from factory_runtime.services.steadily import steadily
from factory_runtime.services.topic_line import Line, Room, TopicCaps, in_turn, stand, start_of
from factory_runtime.services.turns import LimitsOf, limits_or_none, price

STALE = timedelta(seconds=15)
"""A job that was not seen for so long, and is not to come back, is in nobody's way: its process has
ended."""

SOONEST = timedelta(seconds=0.5)
LATEST = timedelta(seconds=5)
"""When a job in line looks again: the first one soon, those far behind seldom, none too late to be
seen."""

PATIENCE = timedelta(seconds=10)
"""How long a job stands in line before its run may be put down for it."""

AWAY_LONGEST = timedelta(minutes=30)
"""How long a run that was put down stays away at most, though nobody calls it."""

UNREADABLE = timedelta(seconds=30)
"""When a job looks again whose caps cannot be read."""

_FOR_EACH_BEFORE = timedelta(seconds=0.25)
_AWAY_FOR_EACH = timedelta(seconds=30)

_LOG = logging.getLogger("factory.topics")


class UnderCaps(Protocol):
    """Where caps are found: an engine, or who only looks."""

    @property
    def store(self) -> RunStore: ...

    @property
    def limits_of(self) -> LimitsOf: ...

    @property
    def topic_caps(self) -> Mapping[str, int]: ...


def find_caps(source: UnderCaps, tenant_id: str, topic: str, now: datetime) -> TopicCaps | None:
    """The caps that a job of this type is under; None where there is none.

    Reads the store where there is one: call it outside of transactions.

    Raises:
        PolicyUnavailableError: the tenant's cannot be read.
    """
    everybody, mine = source.topic_caps.get(topic), source.limits_of(tenant_id)
    own = mine.topics.get(topic)
    if everybody is None:
        return None if own is None else TopicCaps(None, {tenant_id: own})
    with source.store.begin_dispatch(read_only=True) as look:
        waits = look.topic(topic).waits(now - STALE)
    by_tenant, prices = dict[str, int](), dict[str, float]()
    for one in {tenant_id, *(wait.tenant_id for wait in waits)}:
        limits = mine if one == tenant_id else limits_or_none(source.limits_of, one)
        # What cannot be read lets nothing start, so nothing has to wait for it.
        cap = 0 if limits is None else limits.topics.get(topic)
        if cap is not None:
            by_tenant[one] = cap
        if limits is not None:
            prices[one] = price(limits)
    return TopicCaps(everybody, by_tenant, prices)


def line_of(topic: TopicQueue, now: datetime) -> Line:
    """The topic as it stands."""
    return Line(topic.at_work(), topic.waits(now - STALE), topic.served())


@dataclass(frozen=True)
class Turn:
    """There is room for a job; in the transaction in which that was found out."""

    tx: RunTransaction
    topic: TopicQueue
    caps: TopicCaps
    mine: TopicWait
    is_next: bool

    def take(self) -> None:
        """The job is claimed: it leaves the line, and its tenant has had a turn."""
        mine = self.mine
        self.tx.drop_topic_waits(mine.run_id, mine.step)
        if self.caps.everybody is None:
            return
        served = self.topic.served()
        start = start_of(mine.tenant_id, served)
        self.topic.serve(mine.tenant_id, start + self.caps.price(mine.tenant_id))
        if self.is_next and start > served.get(EVERYBODY, 0.0):
            self.topic.serve(EVERYBODY, start)  # others who stand before it keep their places

    def keep(self) -> None:
        """The job is sent to where it will be claimed: others see that it comes before them."""
        self.tx.save_topic_wait(self.mine)


def ask(
    tx: RunTransaction, run: Run, job: Job, caps: TopicCaps, now: datetime
) -> AnotherAttempt | Turn:
    """The turn of a job that may be claimed in this transaction; else when it looks again.

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
    line = line_of(topic, now)
    standing = stand(mine, line, caps)
    if standing.has_room:
        return Turn(tx, topic, caps, mine, standing.is_next)
    tx.save_topic_wait(mine)
    look_at = now + min(SOONEST + standing.ahead * _FOR_EACH_BEFORE, LATEST)
    away_until = look_at
    if now - mine.since >= PATIENCE:
        away_until = now + min((1 + standing.ahead) * _AWAY_FOR_EACH, AWAY_LONGEST)
    reason = _reason(mine, line, caps, standing.ahead)
    return AnotherAttempt(look_at, Outcome.WAITING, reason, away_until)


def step_aside(tx: RunTransaction, run_id: str, step: str, now: datetime) -> None:
    """A job in line that could not begin now if it were its turn: it keeps its age."""
    known = tx.find_topic_wait(run_id, step)
    if known is not None:
        tx.save_topic_wait(replace(known, seen_at=now - STALE, back_at=None))


def go_away(
    tx: RunTransaction, run_id: str, jobs: Iterable[Job], wake_at: datetime, now: datetime
) -> datetime:
    """A run is put down until then: its jobs in line keep their places; when it has to wake up.

    That is at once where one of them was called meanwhile. Those that were sent elsewhere come back
    to no line, and a worker there may claim them at any time. Hold the run's row.
    """
    sent = {job.step for job in jobs if job.routed_to is not None}
    in_line = [wait for wait in tx.list_topic_waits(run_id) if wait.step not in sent]
    waits = [wait for wait in in_line if wait.last_sign > now - STALE]
    if any(wait.back_at is not None for wait in waits):
        return now
    for wait in waits:
        tx.save_topic_wait(replace(wait, back_at=wake_at))
    return wake_at


def look_again(engine: Engine, walk: Walk, job: Job) -> AnotherAttempt | None:
    """A look of a job in line: None where there is room for it now.

    Raises:
        LeaseLostError: another process has the run by now.
    """
    now = engine.clock.now()
    try:
        caps = find_caps(engine, walk.run.tenant_id, job.type, now)
    except PolicyUnavailableError as error:
        return unreadable(engine, error)
    if caps is None:
        return None

    def write(again: bool) -> AnotherAttempt | None:
        del again  # seen twice is seen
        with engine.store.begin(walk.run.tenant_id, durable=False) as tx:
            run = tx.lock_run(walk.run.id)
            hold_walk(engine, tx, walk)
            found = ask(tx, run, job, caps, now)
            return found if isinstance(found, AnotherAttempt) else None

    later = steadily(write, engine.lease)
    if later is not None:
        call(engine, walk.run.tenant_id, job.type, caps)
    return later


def hand_on(engine: Engine, tenant_id: str, topic: str) -> None:
    """A job of a type is at work no more: call those in line who have room now."""
    try:
        caps = find_caps(engine, tenant_id, topic, engine.clock.now())
    except FactoryError:
        return  # they come back by themselves
    if caps is not None:
        call(engine, tenant_id, topic, caps)


def call(engine: Engine, tenant_id: str, topic: str, caps: TopicCaps) -> None:
    """Have those come back from away who have room now. Nothing of it is anybody's to fail of."""
    try:
        _call_all(engine, tenant_id, topic, caps)
    except FactoryError as error:
        _LOG.warning("nobody was called who waits for %s: %s", topic, error)


def _call_all(engine: Engine, tenant_id: str, topic: str, caps: TopicCaps) -> None:
    now = engine.clock.now()
    with engine.store.begin_dispatch(read_only=True) as look:
        line = line_of(look.topic(topic), now)
    waits = caps.concern(tenant_id, line.waits)
    if not any(_is_away(wait, now) for wait in waits):
        return
    room = Room(line.at_work, caps)
    for wait in in_turn(line, waits, caps):
        comes = room.left_for(wait.tenant_id) and (
            not _is_away(wait, now) or _call(engine, wait, now)
        )
        if comes:
            room.take(wait.tenant_id)


def _is_away(wait: TopicWait, now: datetime) -> bool:
    """Whether it may not look again for long, and has not been called."""
    if wait.back_at is None:  # it was told that its run may be put down
        return wait.seen_at - wait.since >= PATIENCE
    return wait.back_at > now


def _call(engine: Engine, wait: TopicWait, now: datetime) -> bool:
    """Whether it comes: its run wants a slot again, or is about to be put down and hears of it."""
    with engine.store.begin(wait.tenant_id, durable=False) as tx:
        run = tx.lock_run(wait.run_id)
        known = tx.find_topic_wait(wait.run_id, wait.step)
        if known is None:
            return False
        if tx.get_job(run.id, wait.step).routed_to is not None:
            return True  # its place is kept for a worker elsewhere: its run has nothing to do
        if run.pause_requested_at or run.cancel_requested_at or run.status is RunStatus.PAUSED:
            step_aside(tx, run.id, wait.step, now)
            return False
        tx.save_topic_wait(replace(known, back_at=now))
        if run.status is RunStatus.WAITING and (run.wake_at is None or run.wake_at > now):
            tx.save_run(run, run.changed(now, wake_at=now))
        return True


def unreadable(engine: Engine, error: PolicyUnavailableError) -> AnotherAttempt:
    """Put a job off whose caps cannot be read: what is not known allows nothing."""
    return AnotherAttempt(engine.clock.now() + UNREADABLE, Outcome.WAITING, error.explain())


def urgency(run: Run, priority: Priority) -> Priority:
    """A job's priority; one whose step says nothing has its run's."""
    return run.priority if priority is Priority.NORMAL else priority


def _reason(mine: TopicWait, line: Line, caps: TopicCaps, ahead: int) -> str:
    own = caps.by_tenant.get(mine.tenant_id)
    count = sum(key.tenant_id == mine.tenant_id for key in line.at_work)
    is_own = own is not None and count >= own
    cap, count = (own, count) if is_own else (caps.everybody, len(line.at_work))
    return f"{count} of {cap} jobs of type {mine.topic} are at work, and {ahead} go before it"
