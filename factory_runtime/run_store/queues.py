"""The run store's transaction: runs that are set aside, and jobs that wait for their topic."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, or_, select, update

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import Breaker, Lock, SetAside, TopicWait
from factory_runtime.ports import EVERYBODY, JobKey
from factory_runtime.run_store.records import BREAKERS, LOCKS, SET_ASIDES, TOPIC_WAITS
from factory_runtime.run_store.rows import Beyond, TenantRows
from factory_runtime.run_store.tables import breakers, jobs, queues, set_asides, topic_waits
from factory_runtime.run_store.translate import translated


def take_turn(connection: Connection, place: str, name: str) -> None:
    """Wait until no other transaction is at ``name``. SQLite has one writer at a time anyway."""
    rows = TenantRows(connection, EVERYBODY, place)
    while rows.many_writers and not rows.lock(LOCKS, name=name):
        never = datetime.max.replace(tzinfo=UTC)
        rows.insert_if_absent(LOCKS, Lock(EVERYBODY, name, "", never))


RUN_SLOTS = ""
"""Stands in the place of a topic for the slots of runs."""


class SqlServed:
    """Where each tenant stands in the virtual time of one queue.

    Whoever writes it has its turn, and is alone.
    """

    def __init__(
        self, connection: Connection, place: str, topic: str, beyond: Beyond = nullcontext
    ) -> None:
        self._connection = connection
        self._beyond = beyond
        self._place = place
        self._topic = topic
        self._known: dict[str, float] | None = None

    def served(self) -> Mapping[str, float]:
        if self._known is None:
            query = select(queues.c.tenant_id, queues.c.served).where(queues.c.topic == self._topic)
            with translated(self._place), self._beyond():
                self._known = {tenant: at for tenant, at in self._connection.execute(query)}
        return dict(self._known)

    def serve(self, tenant_id: str, served: float) -> None:
        if self._known is not None:
            self._known[tenant_id] = served
        row = {"topic": self._topic, "tenant_id": tenant_id, "served": served}
        same = (queues.c.topic == self._topic, queues.c.tenant_id == tenant_id)
        with translated(self._place), self._beyond():
            change = update(queues).where(*same).values(served=served)
            if not self._connection.execute(change).rowcount:
                self._connection.execute(insert(queues), row)


class SqlTopicQueue(SqlServed):
    """``ports.TopicQueue``."""

    def at_work(self) -> tuple[JobKey, ...]:
        # Only what is claimed has a lease: these are few, however many jobs there are.
        query = select(jobs.c.tenant_id, jobs.c.run_id, jobs.c.step).where(
            jobs.c.lease_expires_at.is_not(None),
            jobs.c.status == JobStatus.RUNNING,
            jobs.c.type == self._topic,
        )
        with translated(self._place), self._beyond():
            return tuple(JobKey(*row) for row in self._connection.execute(query))

    def waits(self, seen_after: datetime) -> tuple[TopicWait, ...]:
        columns = topic_waits.c
        query = (
            select(*TOPIC_WAITS.columns)
            .where(
                columns.topic == self._topic,
                or_(columns.seen_at > seen_after, columns.back_at > seen_after),
            )
            .order_by(columns.priority, columns.since, columns.run_id, columns.step)
        )
        with translated(self._place), self._beyond():
            rows = self._connection.execute(query).mappings()
            return tuple(TOPIC_WAITS.value_of(row) for row in rows)


class Queues:
    """``ports.QueueRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    # runs that could not be started

    def find_set_aside(self, run_id: str) -> SetAside | None:
        return self._rows.find(SET_ASIDES, run_id=run_id)

    def save_set_aside(self, aside: SetAside) -> None:
        self._rows.put(SET_ASIDES, aside, key=("tenant_id", "run_id"))

    def drop_set_aside(self, run_id: str) -> None:
        self._rows.delete(SET_ASIDES, set_asides.c.run_id == run_id)

    # hosts

    def open_breakers(self, now: datetime) -> tuple[Breaker, ...]:
        return self._rows.list(BREAKERS, breakers.c.open_until > now, order_by=(breakers.c.host,))

    # topics

    def lock_topic(self, topic: str) -> SqlTopicQueue:
        connection, place, beyond = self._rows.everybody
        with translated(place), beyond():
            take_turn(connection, place, f"topic:{topic}")
        return SqlTopicQueue(connection, place, topic, beyond)

    def find_topic_wait(self, run_id: str, step: str) -> TopicWait | None:
        return self._rows.find(TOPIC_WAITS, run_id=run_id, step=step)

    def list_topic_waits(self, run_id: str) -> tuple[TopicWait, ...]:
        return self._rows.list(TOPIC_WAITS, topic_waits.c.run_id == run_id)

    def save_topic_wait(self, wait: TopicWait) -> None:
        self._rows.put(TOPIC_WAITS, wait, key=("tenant_id", "run_id", "step"), keep=("since",))

    def drop_topic_waits(self, run_id: str, step: str | None = None) -> None:
        of_job = [] if step is None else [topic_waits.c.step == step]
        self._rows.delete(TOPIC_WAITS, topic_waits.c.run_id == run_id, *of_job)
