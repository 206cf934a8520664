"""A run store and a storage that fail now and then, where a test or a seeded chance says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from random import Random
from typing import Any, BinaryIO, Literal, TypeVar, cast

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.dead_letter import LetterGroup
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import StorageFullError, StoreUnavailableError
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.ports import (
    ArtifactStorage,
    DispatchTransaction,
    JobKey,
    RoutedJob,
    RunKey,
    RunStore,
    RunTransaction,
    SeenRun,
    StoredBody,
)
from factory_runtime.ports.numbers import FactoryNumbers, Line

T = TypeVar("T")
Point = Literal["before", "between", "commit", "answer"]
POINTS: tuple[Point, ...] = ("before", "between", "commit", "answer")
"""Before a transaction's first statement; between two of them; when it is to be committed (it is
not); and after that: it is committed, and only the answer is lost."""


class FaultyStore:
    """Implements ports.RunStore on another store. Only transactions that write are disturbed.

    Attributes:
        fired: how often it failed, by point. Assert that it did.
        statements: how many each writing transaction made, in their order.
    """

    def __init__(
        self,
        store: RunStore,
        seed: int = 0,
        rate: float = 0.0,
        at: Mapping[int, tuple[Point, int]] | None = None,
    ) -> None:
        """Fail by chance, or in the transactions named.

        Args:
            store: the real one.
            seed: of the chances.
            rate: which share of the transactions fails.
            at: number of a transaction, from 1 → where it fails, and for ``between`` before
                which statement, from 2.
        """
        self.fired = Counter[str]()
        self.statements: list[int] = []
        self._store = store
        self._chance = Random(seed)  # noqa: S311 - chances that can be repeated
        self._rate = rate
        self._at = dict(at or {})

    @contextmanager
    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> Generator[RunTransaction]:
        if read_only:
            with self._store.begin(tenant_id, read_only=True) as tx:
                yield tx
            return
        plan = self._begun()
        with self._store.begin(tenant_id, durable=durable) as tx:
            yield self._counted(tx, plan)
            self._maybe("commit", plan)
        self._maybe("answer", plan)

    @contextmanager
    def begin_dispatch(self, *, read_only: bool = False) -> Generator[DispatchTransaction]:
        if read_only:
            with self._store.begin_dispatch(read_only=True) as dispatch:
                yield dispatch
            return
        plan = self._begun()
        with self._store.begin_dispatch() as dispatch:
            yield self._counted(dispatch, plan)
            self._maybe("commit", plan)
        self._maybe("answer", plan)

    def due_messages(
        self,
        now: datetime,
        limit: int = 100,
        *,
        topics: Collection[str] | None = None,
        after: OutboxMessage | None = None,
    ) -> tuple[OutboxMessage, ...]:
        return self._store.due_messages(now, limit, topics=topics, after=after)

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        return self._store.waiting_runs(now, limit)

    def running_runs(self) -> tuple[RunKey, ...]:
        return self._store.running_runs()

    def held_runs(self, lock: str, holder: str, now: datetime) -> tuple[SeenRun, ...]:
        return self._store.held_runs(lock, holder, now)

    def overdue_runs(self, now: datetime, limit: int = 1000) -> tuple[RunKey, ...]:
        return self._store.overdue_runs(now, limit)

    def expired_jobs(self, now: datetime, limit: int = 1000) -> tuple[JobKey, ...]:
        return self._store.expired_jobs(now, limit)

    def letter_groups(
        self, *, tenant_id: str | None = None, limit: int = 200
    ) -> tuple[LetterGroup, ...]:
        return self._store.letter_groups(tenant_id=tenant_id, limit=limit)

    def policies(self) -> tuple[PolicyRecord, ...]:
        return self._store.policies()

    def find_deployment(self, prefect_id: str) -> Deployment | None:
        return self._store.find_deployment(prefect_id)

    def open_flow_runs(
        self, *, after: RunKey | None = None, limit: int = 200
    ) -> tuple[SeenRun, ...]:
        return self._store.open_flow_runs(after=after, limit=limit)

    def find_routed_job(self, flow_run_id: str) -> JobKey | None:
        return self._store.find_routed_job(flow_run_id)

    def routed_jobs(
        self, *, after: JobKey | None = None, limit: int = 200
    ) -> tuple[RoutedJob, ...]:
        return self._store.routed_jobs(after=after, limit=limit)

    def unfinished_runs(self, *, after: RunKey | None = None, limit: int = 200) -> tuple[Run, ...]:
        return self._store.unfinished_runs(after=after, limit=limit)

    def sharing_reads(self, tenant_id: str) -> AbstractContextManager[None]:
        return self._store.sharing_reads(tenant_id)

    def find_api_key(self, prefix: str) -> ApiKey | None:
        return self._store.find_api_key(prefix)

    def find_webhook_source(self, source_id: str) -> WebhookSource | None:
        return self._store.find_webhook_source(source_id)

    def check(self) -> None:
        self._store.check()

    def outbox_lines(self) -> Mapping[str, Line]:
        return self._store.outbox_lines()

    def unindexed_line(self) -> Line | None:
        return self._store.unindexed_line()

    def numbers(
        self, now: datetime, *, since: datetime, most: int, seen_after: datetime
    ) -> FactoryNumbers:
        return self._store.numbers(now, since=since, most=most, seen_after=seen_after)

    def next_unsealed_tenant(self, after: str) -> str | None:
        return self._store.next_unsealed_tenant(after)

    def tenants_of_old_deliveries(self, before: datetime) -> tuple[str, ...]:
        return self._store.tenants_of_old_deliveries(before)

    def unindexed_tenants(self) -> tuple[str, ...]:
        return self._store.unindexed_tenants()

    def remembering_tenants(self) -> tuple[str, ...]:
        return self._store.remembering_tenants()

    def migrating_tenants(self) -> tuple[str, ...]:
        return self._store.migrating_tenants()

    def tenants_of_expired_artifacts(self, now: datetime) -> tuple[str, ...]:
        return self._store.tenants_of_expired_artifacts(now)

    def tenants_of_old_packages(self, expired_at: datetime) -> tuple[str, ...]:
        return self._store.tenants_of_old_packages(expired_at)

    def close(self) -> None:
        self._store.close()

    def _begun(self) -> tuple[Point, int] | None:
        self.statements.append(0)
        plan = self._at.get(len(self.statements))
        if plan is None and self._chance.random() < self._rate:
            plan = (self._chance.choice(POINTS), self._chance.randint(2, 4))
        self._maybe("before", plan)
        return plan

    def _maybe(self, point: Point, plan: tuple[Point, int] | None) -> None:
        if plan is not None and plan[0] == point:
            self.fired[point] += 1
            raise StoreUnavailableError(f"the run store went away: {point}")

    def _counted(self, transaction: T, plan: tuple[Point, int] | None) -> T:
        return cast(T, _Counted(self, transaction, len(self.statements) - 1, plan))

    def count(self, transaction: int, plan: tuple[Point, int] | None) -> None:
        """One more statement of a transaction is about to be made."""
        self.statements[transaction] += 1
        if plan is not None and self.statements[transaction] == plan[1]:
            self._maybe("between", plan)


class _Counted:
    """A transaction each of whose methods is one statement."""

    def __init__(
        self, store: FaultyStore, transaction: Any, number: int, plan: tuple[Point, int] | None
    ) -> None:
        self._store = store
        self._transaction = transaction
        self._number = number
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._transaction, name)
        if callable(found):
            self._store.count(self._number, self._plan)
        return found


class FaultyStorage:
    """Implements ports.ArtifactStorage on another one: its disk is full at times.

    Attributes:
        full: whether it is now.
        fired: how often a body was refused, as ``put``.
    """

    def __init__(self, storage: ArtifactStorage, seed: int = 0, rate: float = 0.0) -> None:
        self.full = False
        self.fired = Counter[str]()
        self._storage = storage
        self._chance = Random(seed)  # noqa: S311 - chances that can be repeated
        self._rate = rate

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        if self.full or self._chance.random() < self._rate:
            self.fired["put"] += 1
            raise StorageFullError("no room is left")
        return self._storage.put(tenant_id, body)

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        return self._storage.open(tenant_id, digest)

    def read(self, tenant_id: str, digest: str) -> bytes:
        return self._storage.read(tenant_id, digest)

    def verify(self, tenant_id: str, digest: str) -> bool:
        return self._storage.verify(tenant_id, digest)

    def exists(self, tenant_id: str, digest: str) -> bool:
        return self._storage.exists(tenant_id, digest)

    def delete(self, tenant_id: str, digest: str) -> None:
        self._storage.delete(tenant_id, digest)

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        answers = {"disposition": disposition, "media_type": media_type}
        return self._storage.link(tenant_id, digest, until=until, **answers)
