"""The run store on a database: transactions for one tenant, and the few looks over all of them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, literal, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.dead_letter import LetterGroup
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import (
    CorruptStoreError,
    LostCommitError,
    PermanentError,
    StoreUnavailableError,
)
from factory_runtime.domain.memory import ModelStatus
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.ports import FactoryNumbers, JobKey, Line, RoutedJob, RunKey, SeenRun
from factory_runtime.run_store.access import API_KEY_OF_PREFIX
from factory_runtime.run_store.dispatch import SqlDispatch, waiting_runs
from factory_runtime.run_store.engines import (
    LOCK_WAIT,
    after_commit,
    engine_beside,
    for_writing,
    refuse_if_broken,
)
from factory_runtime.run_store.groups import letter_groups
from factory_runtime.run_store.numbers import factory_numbers, outbox_lines, unindexed_line
from factory_runtime.run_store.records import (
    API_KEYS,
    DEPLOYMENTS,
    MESSAGES,
    POLICIES,
    RUNS,
    SOURCES,
)
from factory_runtime.run_store.routed_jobs import job_of_flow_run, routed_jobs
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.schema import HEAD_REVISION, read_revision
from factory_runtime.run_store.stuck import (
    expired_jobs,
    held_runs,
    open_flow_runs,
    overdue_runs,
    running_runs,
    unfinished_runs,
)
from factory_runtime.run_store.tables import (
    artifacts,
    audit_unsealed,
    deployments,
    dying_bodies,
    memory_models,
    memory_packages,
    memory_records,
    outbox,
    webhook_deliveries,
    webhook_sources,
)
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.run_store.translate import translated
from factory_runtime.run_store.walls import beyond_wall, go_behind_wall, require_sight_of_all


class SqlRunStore:
    """``ports.RunStore`` on SQLite or PostgreSQL. Open one with ``open_run_store``.

    Attributes:
        engine: for those who look after the database; the core has no business with it.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine = engine
        self._place = place
        # SQLite has one writer. Threads of one process queue here, where waiting costs nothing,
        # and only processes meet in the file, where it is polling.
        self._turn = Turn(place) if engine.dialect.name == "sqlite" else None
        self._sees_all = engine.dialect.name != "postgresql"
        self._beside = engine_beside(engine)
        self._reading = threading.local()

    @contextmanager
    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> Generator[SqlTransaction]:
        shared: SqlTransaction | None = getattr(self._reading, "shared", None)
        if read_only and shared is not None and shared.tenant_id == tenant_id:
            yield shared
            return
        with self._behind_wall(tenant_id, read_only=read_only, durable=durable) as connection:
            rows = TenantRows(
                connection,
                tenant_id,
                self._place,
                read_only=read_only,
                beyond=partial(beyond_wall, connection, tenant_id),
            )
            transaction = SqlTransaction(rows)
            yield transaction
            with translated(self._place):
                refuse_if_broken(connection)
            transaction.finish()

    @contextmanager
    def sharing_reads(self, tenant_id: str) -> Generator[None]:
        with self.begin(tenant_id, read_only=True) as tx:
            self._reading.shared = tx
            try:
                yield
            finally:
                self._reading.shared = None

    def due_messages(
        self,
        now: datetime,
        limit: int = 100,
        *,
        topics: Collection[str] | None = None,
        after: OutboxMessage | None = None,
    ) -> tuple[OutboxMessage, ...]:
        query = (
            select(*MESSAGES.columns)
            .where(outbox.c.done_at.is_(None), outbox.c.not_before <= now)
            .order_by(outbox.c.created_at, outbox.c.id)
            .limit(limit)
        )
        if topics is not None:
            query = query.where(outbox.c.topic.in_(topics))
        if after is not None:
            place = tuple_(literal(after.created_at, outbox.c.created_at.type), literal(after.id))
            query = query.where(tuple_(outbox.c.created_at, outbox.c.id) > place)
        with self._connected(read_only=True) as connection, translated(self._place):
            return tuple(MESSAGES.value_of(row) for row in connection.execute(query).mappings())

    @contextmanager
    def begin_dispatch(self, *, read_only: bool = False) -> Generator[SqlDispatch]:
        with self._connected(read_only=read_only) as connection:
            dispatch = SqlDispatch(connection, self._place, read_only=read_only)
            if not read_only:
                dispatch.take_turn()
            yield dispatch
            dispatch.finish()

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        return self._keys(waiting_runs(now, limit))

    def running_runs(self) -> tuple[RunKey, ...]:
        return self._keys(running_runs())

    def held_runs(self, lock: str, holder: str, now: datetime) -> tuple[SeenRun, ...]:
        return self._seen(held_runs(lock, holder, now))

    def overdue_runs(self, now: datetime, limit: int = 1000) -> tuple[RunKey, ...]:
        return self._keys(overdue_runs(now, limit))

    def expired_jobs(self, now: datetime, limit: int = 1000) -> tuple[JobKey, ...]:
        return tuple(JobKey(*row) for row in self._all(expired_jobs(now, limit)))

    def letter_groups(
        self, *, tenant_id: str | None = None, limit: int = 200
    ) -> tuple[LetterGroup, ...]:
        seeing = (
            self._connected(read_only=True) if tenant_id is None else self._behind_wall(tenant_id)
        )
        with seeing as connection, translated(self._place):
            return letter_groups(connection, tenant_id, limit)

    def policies(self) -> tuple[PolicyRecord, ...]:
        with self._connected(read_only=True) as connection, translated(self._place):
            rows = connection.execute(select(*POLICIES.columns)).mappings()
            return tuple(POLICIES.value_of(row) for row in rows)

    def find_deployment(self, prefect_id: str) -> Deployment | None:
        query = select(*DEPLOYMENTS.columns).where(deployments.c.prefect_id == prefect_id)
        with self._connected(read_only=True) as connection, translated(self._place):
            row = connection.execute(query).mappings().first()
            return None if row is None else DEPLOYMENTS.value_of(row)

    def find_api_key(self, prefix: str) -> ApiKey | None:
        with self._behind_wall(presented=prefix, read_only=True) as connection:
            with translated(self._place):
                row = connection.execute(API_KEY_OF_PREFIX, {"shown": prefix}).mappings().first()
            return None if row is None else API_KEYS.value_of(row)

    def find_webhook_source(self, source_id: str) -> WebhookSource | None:
        query = select(*SOURCES.columns).where(webhook_sources.c.id == source_id)
        with self._behind_wall(presented=source_id) as connection, translated(self._place):
            row = connection.execute(query).mappings().first()
            return None if row is None else SOURCES.value_of(row)

    def tenants_of_old_deliveries(self, before: datetime) -> tuple[str, ...]:
        columns = webhook_deliveries.c
        old = select(columns.tenant_id).where(columns.received_at < before).distinct()
        return tuple(tenant_id for (tenant_id,) in self._all(old))

    def open_flow_runs(
        self, *, after: RunKey | None = None, limit: int = 200
    ) -> tuple[SeenRun, ...]:
        return self._seen(open_flow_runs(after, limit))

    def find_routed_job(self, flow_run_id: str) -> JobKey | None:
        found = self._all(job_of_flow_run(flow_run_id))
        return JobKey(*found[0]) if found else None

    def routed_jobs(
        self, *, after: JobKey | None = None, limit: int = 200
    ) -> tuple[RoutedJob, ...]:
        return tuple(
            RoutedJob(JobKey(*key), flow_run_id, claimed)
            for *key, flow_run_id, claimed in self._all(routed_jobs(after, limit))
        )

    def unfinished_runs(self, *, after: RunKey | None = None, limit: int = 200) -> tuple[Run, ...]:
        with self._connected(read_only=True) as connection, translated(self._place):
            rows = connection.execute(unfinished_runs(after, limit)).mappings()
            return tuple(RUNS.value_of(row) for row in rows)

    def unindexed_tenants(self) -> tuple[str, ...]:
        columns = memory_records.c
        waiting = select(columns.tenant_id).where(columns.indexed_at.is_(None)).distinct()
        return tuple(tenant_id for (tenant_id,) in self._all(waiting.order_by(columns.tenant_id)))

    def migrating_tenants(self) -> tuple[str, ...]:
        columns = memory_models.c
        beside = columns.status != ModelStatus.ACTIVE
        query = select(columns.tenant_id).where(beside).distinct().order_by(columns.tenant_id)
        return tuple(tenant_id for (tenant_id,) in self._all(query))

    def remembering_tenants(self) -> tuple[str, ...]:
        tenant_id = memory_records.c.tenant_id
        return tuple(one for (one,) in self._all(select(tenant_id).distinct().order_by(tenant_id)))

    def tenants_of_old_packages(self, expired_at: datetime) -> tuple[str, ...]:
        columns = memory_packages.c
        old = select(columns.tenant_id).where(columns.expires_at <= expired_at).distinct()
        return tuple(tenant_id for (tenant_id,) in self._all(old))

    def tenants_of_expired_artifacts(self, now: datetime) -> tuple[str, ...]:
        columns = artifacts.c
        expired = columns.expires_at <= now, columns.body_deleted_at.is_(None)
        either = select(columns.tenant_id).where(*expired), select(dying_bodies.c.tenant_id)
        found = {tenant_id for query in either for (tenant_id,) in self._all(query.distinct())}
        return tuple(sorted(found))

    def next_unsealed_tenant(self, after: str) -> str | None:
        tenant_id = audit_unsealed.c.tenant_id
        return self._all(select(func.min(tenant_id)).where(tenant_id > after))[0][0]

    def check(self) -> None:
        # Not one of the pool's: they may all be in use, or be left of a server that is gone.
        with translated(self._place), self._beside.connect() as connection:
            found = read_revision(connection)
        if found is None or found < HEAD_REVISION:
            raise CorruptStoreError(f"{self._place} has the tables of an older release")

    def numbers(
        self, now: datetime, *, since: datetime, most: int, seen_after: datetime
    ) -> FactoryNumbers:
        with self._connected(read_only=True) as connection, translated(self._place):
            return factory_numbers(connection, now, since=since, most=most, seen_after=seen_after)

    def outbox_lines(self) -> Mapping[str, Line]:
        with self._connected(read_only=True) as connection, translated(self._place):
            return outbox_lines(connection)

    def unindexed_line(self) -> Line | None:
        with self._connected(read_only=True) as connection, translated(self._place):
            return unindexed_line(connection)

    def close(self) -> None:
        self.engine.dispose()

    def _keys(self, query: Select[tuple[str, str]]) -> tuple[RunKey, ...]:
        return tuple(RunKey(*row) for row in self._all(query))

    def _seen(self, query: Select[Any]) -> tuple[SeenRun, ...]:
        return tuple(
            SeenRun(RunKey(*key), flow_run_id, version)
            for *key, flow_run_id, version in self._all(query)
        )

    def _all(self, query: Select[Any]) -> list[Any]:
        with self._connected(read_only=True) as connection, translated(self._place):
            return list(connection.execute(query))

    @contextmanager
    def _connected(self, *, read_only: bool) -> Generator[Connection]:
        """A connection in a transaction over all tenants.

        Raises:
            SettingsError: the database does not let us look over them.
        """
        with self._in_transaction(read_only=read_only) as connection:
            if not self._sees_all:
                with translated(self._place):
                    require_sight_of_all(connection, self._place)
                self._sees_all = True
            yield connection

    @contextmanager
    def _behind_wall(
        self,
        tenant_id: str = "",
        *,
        presented: str = "",
        read_only: bool = True,
        durable: bool = True,
    ) -> Generator[Connection]:
        """A connection in a transaction that sees one tenant's rows, or what somebody presents."""
        with self._in_transaction(read_only=read_only, durable=durable) as connection:
            with translated(self._place):
                go_behind_wall(connection, tenant_id=tenant_id, presented=presented)
            yield connection

    @contextmanager
    def _in_transaction(self, *, read_only: bool, durable: bool = True) -> Generator[Connection]:
        """A connection in a transaction. What the caller's block raises passes untouched."""
        with self._waiting(read_only=read_only):
            with translated(self._place):
                connection = self.engine.connect()
            try:
                if not read_only:
                    for_writing(connection, durable=durable)
                with translated(self._place):
                    transaction = connection.begin()
                try:
                    yield connection
                except BaseException:
                    # A database that is away takes back by itself what it was not told to keep.
                    with suppress(SQLAlchemyError):
                        transaction.rollback()
                    raise
                with translated(self._place):
                    refuse_if_broken(connection)
                try:
                    with translated(self._place):
                        transaction.commit()
                except StoreUnavailableError as exc:
                    raise LostCommitError(str(exc), hint=exc.hint) from exc
                with translated(self._place):
                    after_commit(connection)
            finally:
                connection.close()

    def _waiting(self, *, read_only: bool) -> AbstractContextManager[None]:
        return nullcontext() if self._turn is None or read_only else self._turn.taken()


class Turn:
    """One transaction after the other, within one process."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._holder: int | None = None

    @contextmanager
    def taken(self) -> Generator[None]:
        """Raises PermanentError where the thread holds it already: it would wait for itself."""
        me = threading.get_ident()
        if self._holder == me:
            raise PermanentError("this thread has a transaction open already")
        if not self._lock.acquire(timeout=LOCK_WAIT.total_seconds()):
            raise StoreUnavailableError(
                f"{self._place} has been locked for too long by another thread of this process"
            )
        self._holder = me
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()
