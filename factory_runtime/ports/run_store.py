"""The run store: the record."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.dead_letter import LetterGroup
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.ports.access_records import AccessRecords
from factory_runtime.ports.audit_records import AuditRecords
from factory_runtime.ports.deployment_records import DeploymentRecords
from factory_runtime.ports.keeping_records import KeepingRecords
from factory_runtime.ports.ledger_records import LedgerRecords
from factory_runtime.ports.memory_records import MemoryRecords
from factory_runtime.ports.numbers import NumberRecords
from factory_runtime.ports.operator_records import OperatorRecords
from factory_runtime.ports.publication_records import PublicationRecords
from factory_runtime.ports.queue_records import (
    DispatchTransaction,
    JobKey,
    QueueRecords,
    RoutedJob,
    RunKey,
    SeenRun,
)
from factory_runtime.ports.routed_jobs import RoutedJobRecords
from factory_runtime.ports.run_records import RunRecords
from factory_runtime.ports.webhook_records import WebhookRecords


class RunTransaction(
    RunRecords,
    LedgerRecords,
    MemoryRecords,
    OperatorRecords,
    QueueRecords,
    DeploymentRecords,
    PublicationRecords,
    RoutedJobRecords,
    WebhookRecords,
    AuditRecords,
    AccessRecords,
    KeepingRecords,
    Protocol,
):
    """One use case on one tenant's rows: all of it is committed, or none.

    Every query it makes adds the tenant it was begun for; a row of another tenant is not there.
    Ids that are unknown raise the port's NotFound error.
    """

    @property
    def tenant_id(self) -> str: ...


class RunStore(NumberRecords, Protocol):
    """The record. Safe to use from many threads and processes."""

    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> AbstractContextManager[RunTransaction]:
        """A transaction that commits when its block ends and rolls back when it raises.

        One that only reads never waits for writers, and refuses to write. A thread has one
        writing transaction at a time.

        A commit survives whatever happens to processes. One that is not ``durable`` survives the
        machine's loss of power only together with a later one that is: enough for what nothing
        outside has been done about yet, and would be done again.

        Raises:
            StoreUnavailableError: the database does not answer or cannot write.
            CorruptStoreError: it is damaged or not one of ours.
        """
        ...

    def sharing_reads(self, tenant_id: str) -> AbstractContextManager[None]:
        """Within, transactions of this thread that only read this tenant's rows are one.

        For a use case that asks several services in turn, each of which begins one of its own.
        """
        ...

    def due_messages(
        self,
        now: datetime,
        limit: int = 100,
        *,
        topics: Collection[str] | None = None,
        after: OutboxMessage | None = None,
    ) -> tuple[OutboxMessage, ...]:
        """Outbox messages of every tenant that are to be handled now, oldest first.

        Of these topics alone, where they are given: many of another must not hide them. ``after``
        continues behind the last one of a page.
        """
        ...

    def begin_dispatch(
        self, *, read_only: bool = False
    ) -> AbstractContextManager[DispatchTransaction]:
        """A transaction over all tenants, for one dispatcher at a time: the others wait for it.

        One that only reads waits for nobody, and refuses to write.
        """
        ...

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        """Like ``DispatchTransaction.waiting_runs``, without waiting for other dispatchers."""
        ...

    # What a sweep looks for, over all tenants. Each is one look into an index of open rows.

    def running_runs(self) -> tuple[RunKey, ...]:
        """Runs that have a slot: Queued or Running ones."""
        ...

    def held_runs(self, lock: str, holder: str, now: datetime) -> tuple[SeenRun, ...]:
        """Those of them that have a flow run and whose lock is this holder's.

        Its name is ``lock`` and then the run's id.
        """
        ...

    def overdue_runs(self, now: datetime, limit: int = 1000) -> tuple[RunKey, ...]:
        """Open runs past their deadline, or asked to be cancelled."""
        ...

    def expired_jobs(self, now: datetime, limit: int = 1000) -> tuple[JobKey, ...]:
        """Running jobs whose lease has run out."""
        ...

    def letter_groups(
        self, *, tenant_id: str | None = None, limit: int = 200
    ) -> tuple[LetterGroup, ...]:
        """Open dead letters by fingerprint, the largest group first; of all tenants, or of one."""
        ...

    def policies(self) -> tuple[PolicyRecord, ...]:
        """Those of all tenants, for the dispatcher: it reads their limits."""
        ...

    def find_deployment(self, prefect_id: str) -> Deployment | None:
        """Whose this deployment of Prefect's is: by its id alone, over all tenants.

        A flow run that begins in Prefect has nothing else that nobody can edit there.
        """
        ...

    def find_api_key(self, prefix: str) -> ApiKey | None:
        """The key that has this prefix, over all tenants: a key says nothing of its tenant."""
        ...

    def find_webhook_source(self, source_id: str) -> WebhookSource | None:
        """Whose this source of webhooks is: by its id alone, over all tenants.

        Who sends to it names nothing else, and is verified by its secrets.
        """
        ...

    def tenants_of_old_deliveries(self, before: datetime) -> tuple[str, ...]:
        """Those that have deliveries of webhooks from before then."""
        ...

    def open_flow_runs(
        self, *, after: RunKey | None = None, limit: int = 200
    ) -> tuple[SeenRun, ...]:
        """Open runs with a flow run that nobody asked to cancel, by key; ``after`` continues.

        Those are among them whose rows are damaged.
        """
        ...

    def find_routed_job(self, flow_run_id: str) -> JobKey | None:
        """The job that this flow run of Prefect's may claim: by its id alone, over all tenants."""
        ...

    def routed_jobs(
        self, *, after: JobKey | None = None, limit: int = 200
    ) -> tuple[RoutedJob, ...]:
        """Open jobs that a flow run was made for elsewhere, by key; ``after`` continues.

        Those are among them whose rows are damaged.
        """
        ...

    def unfinished_runs(self, *, after: RunKey | None = None, limit: int = 200) -> tuple[Run, ...]:
        """Runs that may still go on, in the order of their keys; ``after`` continues.

        They are open, or have Failed and left dead letters that are open.
        """
        ...

    def unindexed_tenants(self) -> tuple[str, ...]:
        """Those with memories that the index does not have as they are now."""
        ...

    def migrating_tenants(self) -> tuple[str, ...]:
        """Those whose memory has a model that searches do not use, in the order of names."""
        ...

    def remembering_tenants(self) -> tuple[str, ...]:
        """Those that have memories, in the order of names."""
        ...

    def tenants_of_old_packages(self, expired_at: datetime) -> tuple[str, ...]:
        """Those with context packages that had expired by then."""
        ...

    def tenants_of_expired_artifacts(self, now: datetime) -> tuple[str, ...]:
        """Those with artifacts that have expired and have their bodies yet, or with dying bodies."""
        ...

    def next_unsealed_tenant(self, after: str) -> str | None:
        """The next tenant, by name, of whose audit something waits for its seal."""
        ...

    def close(self) -> None: ...
