"""Read what tells why a run stands where it does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunKey, RunStore
from factory_runtime.services.standing import (
    Place,
    Standing,
    StandingFacts,
    TopicPlace,
    standing_of,
    wants_slot,
)
from factory_runtime.services.topic_line import Line, TopicCaps, stand
from factory_runtime.services.topic_slots import STALE, find_caps, line_of
from factory_runtime.services.turns import LimitsOf, SeenLine, limits_or_none, turns

_IN_TENANT = 1000
"""Places of a tenant's own queue that are looked through."""

_OVERALL = 200
"""Turns that are looked ahead."""


@dataclass(frozen=True)
class Onlooker:
    """Where to look, and under which limits everything stands.

    Attributes:
        cap: slots of all.
        limits_of: each tenant's.
        topic_caps: over all tenants.
        hosts_of: the hosts that a job type needs; asked only while a host is down.
        executed: whether somebody is there to execute runs.
    """

    store: RunStore
    cap: int
    limits_of: LimitsOf
    topic_caps: Mapping[str, int]
    hosts_of: Callable[[str], Collection[str]]
    executed: bool


@dataclass
class Queue:
    """The queue as it was looked at once, for many questions."""

    onlooker: Onlooker
    now: datetime
    _line: SeenLine | None = None
    _turns: dict[RunKey, int] | None = None
    _queues: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])

    @property
    def line(self) -> SeenLine:
        if self._line is None:
            self._line = SeenLine(self.onlooker.store, self.now)
        return self._line

    def position(self, run: Run) -> int | None:
        """In its tenant's queue, from 1."""
        if run.tenant_id not in self._queues:
            found = self.line.queue_of(run.tenant_id, self.now, limit=_IN_TENANT)
            places = {one.run_id: number for number, one in enumerate(found, 1)}
            self._queues[run.tenant_id] = places
        return self._queues[run.tenant_id].get(run.id)

    def overall(self, run: Run) -> int | None:
        """Which turn is its, from 1, if no run of another ends before; None where it has none."""
        if self._turns is None:
            ahead = islice(turns(self.line, self.now, self.onlooker.limits_of), _OVERALL)
            self._turns = {one.key: number for number, one in enumerate(ahead, 1)}
        return self._turns.get(RunKey(run.tenant_id, run.id))


def read_standing(
    onlooker: Onlooker,
    run: Run,
    jobs: Iterable[Job],
    now: datetime,
    queue: Queue | None = None,
) -> Standing:
    """Why a run stands where it does.

    Args:
        onlooker: where to look.
        run: which.
        jobs: of the run; none to be told of the run alone.
        now: the time.
        queue: as it was looked at before, for many runs.
    """
    jobs = tuple(jobs)
    if run.ended:
        return Standing()
    with onlooker.store.begin(run.tenant_id, read_only=True) as tx:
        approvals = [
            one
            for one in tx.list_approvals(run_id=run.id, status=ApprovalStatus.OPEN)
            if any(job.step == one.step and job.status is JobStatus.WAITING for job in jobs)
        ]
        in_line = [wait for wait in tx.list_topic_waits(run.id) if wait.last_sign > now - STALE]
        breakers = tx.open_breakers(now)
        aside = tx.find_set_aside(run.id)
    place = None
    if wants_slot(run, now):
        queue = queue or Queue(onlooker, now)
        place = Place(
            cap=onlooker.cap,
            holders=queue.line.holders(),
            limits=limits_or_none(onlooker.limits_of, run.tenant_id),
            position=queue.position(run),
            overall=queue.overall(run),
            aside=aside if aside is not None and aside.until > now else None,
        )
    types = {job.type for job in jobs if job.status is JobStatus.PENDING}
    facts = StandingFacts(
        run=run,
        now=now,
        jobs=jobs,
        executed=onlooker.executed,
        place=place,
        topics=_topics(onlooker, in_line, now) if in_line else {},
        breakers=breakers,
        hosts={name: onlooker.hosts_of(name) for name in types} if breakers else {},
        approvals=tuple(approvals),
    )
    return standing_of(facts)


def _topics(
    onlooker: Onlooker, in_line: Collection[TopicWait], now: datetime
) -> dict[str, TopicPlace]:
    """Of those of a run's jobs that are in line, by step."""
    found: dict[str, TopicPlace] = {}
    with onlooker.store.begin_dispatch(read_only=True) as look:
        lines = {name: line_of(look.topic(name), now) for name in {w.topic for w in in_line}}
    for wait in in_line:
        try:
            caps = find_caps(onlooker, wait.tenant_id, wait.topic, now)
        except PolicyUnavailableError:
            continue  # what cannot be read is told by its own name
        if caps is not None and (place := _topic_place(wait, lines[wait.topic], caps)) is not None:
            found[wait.step] = place
    return found


def _topic_place(mine: TopicWait, line: Line, caps: TopicCaps) -> TopicPlace | None:
    standing = stand(mine, line, caps)
    own = caps.by_tenant.get(mine.tenant_id)
    ours = [key for key in line.at_work if key.tenant_id == mine.tenant_id]
    is_own = own is not None and len(ours) >= own
    allowed = own if is_own else caps.everybody
    if standing.has_room or allowed is None:
        return None
    others = {(key.tenant_id, key.run_id) for key in line.at_work if key not in ours}
    return TopicPlace(
        limit=f"topics.{mine.topic}" if is_own else "FACTORY_TOPIC_CAPS",
        allowed=allowed,
        taken=len(ours if is_own else line.at_work),
        holders=tuple(sorted({key.run_id for key in ours})),
        others=0 if is_own else len(others),
        position=standing.ahead + 1,
    )
