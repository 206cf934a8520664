"""The run store: the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.dead_letter import LetterGroup
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.job import Job
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import (
    Breaker,
    Checkpoint,
    Effect,
    EffectStatus,
    OutboxMessage,
    RequestRecord,
    RunEvent,
    TemplateRecord,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.ports.access_records import AccessRecords
from factory_runtime.ports.audit_records import AuditRecords
from factory_runtime.ports.deployment_records import DeploymentRecords
from factory_runtime.ports.keeping_records import KeepingRecords
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
from factory_runtime.ports.webhook_records import WebhookRecords

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list. Newest request first.

    Attributes:
        since, until: when it was requested; ``until`` itself is no longer in.
        ended_since, ended_until: likewise, when it ended.
        error: a part of what the run or one of its jobs failed of, in any case.
        not_since_succeeded: no run of the same project, template and inputs has Succeeded after it.
        projects: one of them; None is any.
        outside_id: a build's, repository's, pipeline's, work item's or webhook delivery's.
        text: words that its template, project, module, requester or inputs say, in any case; all
            of them.
        can_be_retried: it Failed, was not refused, nobody undoes it, and nobody has discarded all
            of its dead letters.
    """

    project_id: str | None = None
    template_id: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    requested_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    ended_until: datetime | None = None
    error: str | None = None
    not_since_succeeded: bool = False
    can_be_retried: bool = False
    projects: tuple[str, ...] | None = None
    module_id: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    outside_id: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; ``cursor`` asks for the next part and is None at the end."""

    items: tuple[T, ...]
    cursor: str | None = None


class RunTransaction(
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

    # runs and jobs
    def add_run(
        self,
        run: Run,
        jobs: Sequence[Job] = (),
        *,
        requested: Run | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert a run with its jobs, and an event for its first status.

        One that has moved since it was ``requested`` gets another for that, with the detail.

        Raises:
            IllegalTransitionError: the status table does not allow the move.
        """
        ...

    def get_run(self, run_id: str) -> Run: ...

    def lock_run(self, run_id: str) -> Run:
        """The run, with its row locked until the end of the transaction."""
        ...

    def save_run(self, before: Run, after: Run, *, detail: Mapping[str, Any] | None = None) -> None:
        """Compare-and-set on ``before.version``; a changed status appends an event.

        Raises:
            StaleVersionError: the row changed since ``before`` was read.
            IllegalTransitionError: the status table does not allow the move.
        """
        ...

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]: ...

    def count_runs(self, where: RunFilter) -> int: ...

    def find_run_by_flow_run(self, flow_run_id: str) -> Run | None: ...

    def add_jobs(self, jobs: Sequence[Job]) -> None:
        """Insert Pending jobs of runs that stand already: their plan was changed."""
        ...

    def get_job(self, run_id: str, step: str) -> Job: ...

    def list_jobs(self, run_id: str) -> tuple[Job, ...]:
        """All jobs of a run in plan order."""
        ...

    def save_job(self, before: Job, after: Job, *, detail: Mapping[str, Any] | None = None) -> None:
        """Compare-and-set on ``before.version`` and ``before.fencing_token``; as ``save_run``."""
        ...

    # attempts
    def add_attempt(self, attempt: Attempt) -> None:
        """Insert; the very same attempt once more is a no-op.

        Raises:
            DuplicateAttemptError: its key stands for another one.
        """
        ...

    def save_attempt(self, attempt: Attempt) -> None:
        """Update by key. Repeating it changes nothing."""
        ...

    def list_attempts(self, run_id: str, step: str | None = None) -> tuple[Attempt, ...]: ...

    # artifacts
    def add_artifacts(self, artifacts: Iterable[Artifact]) -> None:
        """Insert; one of the same run, step, kind and name is replaced, its id and creation kept."""
        ...

    def get_artifact(self, artifact_id: str) -> Artifact: ...

    def list_artifacts(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ArtifactKind | None = None,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Artifact | None = None,
    ) -> tuple[Artifact, ...]:
        """Newest first; oldest first within one run. ``after`` continues behind one of a page."""
        ...

    def find_last_artifact(self, project_id: str, kind: ArtifactKind, name: str) -> Artifact | None:
        """The newest of this kind and name that a run of the project left, and has its body yet."""
        ...

    def touch_artifact(self, artifact_id: str, accessed_at: datetime) -> None: ...

    # leases and checkpoints: what an attempt writes beside its end, each fenced by its token
    def hold_job(self, job: Job) -> None:
        """Keep the job's claim as it is until the transaction ends.

        Raises:
            LeaseLostError: it is not Running under this job's fencing token any more.
        """
        ...

    def renew_leases(self, run_id: str, owner: str, expires_at: datetime) -> int:
        """Renew what this owner holds of a run's jobs; how many. Their versions stay."""
        ...

    def wake_job(self, run_id: str, step: str, at: datetime) -> bool:
        """Have a Waiting job go on at this time; False where it does not wait. Its version stays.

        So whoever walks the run can claim the job all the same, and needs not be told of it first.
        """
        ...

    def note_progress(self, job: Job, progress: float | None, phrase: str | None) -> None:
        """Write down how far a job is; its version stays.

        Raises:
            LeaseLostError: as ``hold_job``.
        """
        ...

    def save_checkpoint(self, job: Job, checkpoint: Checkpoint) -> None:
        """Replace the job's checkpoint.

        Raises:
            LeaseLostError: as ``hold_job``.
        """
        ...

    def find_checkpoint(self, run_id: str, step: str) -> Checkpoint | None: ...

    # events
    def add_event(self, event: RunEvent) -> None: ...

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]:
        """Events of a run with a sequence greater than ``after``, in order."""
        ...

    def find_last_event(self, run_id: str, *, besides: Collection[str] = ()) -> RunEvent | None:
        """The latest, of those that are of none of these kinds."""
        ...

    # the effect ledger
    def intend_effect(self, effect: Effect) -> Effect:
        """Write it down before it is done; if it stands already, give what stands."""
        ...

    def intend_elsewhere(self, before: Effect, after: Effect) -> None:
        """An effect that is only intended is to be done at another place; once more is a no-op.

        Raises:
            ConflictError: it does not stand as ``before``, or is more than intended.
        """
        ...

    def confirm_effect(
        self, effect_key: str, kind: str, reference: str, at: datetime, *, link: str | None = None
    ) -> None: ...

    def list_effects(
        self,
        *,
        run_id: str | None = None,
        step: str | None = None,
        status: EffectStatus | None = None,
        projects: Collection[str] | None = None,
        limit: int = 1000,
        after: Effect | None = None,
    ) -> tuple[Effect, ...]:
        """Oldest first; ``after`` continues behind the last one of a page.

        ``projects`` are those of the runs.
        """
        ...

    # outbox
    def add_message(self, message: OutboxMessage) -> None:
        """Insert; a message of the same topic and key is the same message."""
        ...

    def find_message(self, message_id: str) -> OutboxMessage | None: ...

    def save_message(self, message: OutboxMessage) -> None: ...

    # templates and requests
    def register_template(self, template: TemplateRecord) -> bool:
        """Insert; True if it is new.

        Raises:
            TemplateChangedError: same id and version, other digest.
        """
        ...

    def list_templates(self) -> tuple[TemplateRecord, ...]: ...

    def find_request(self, idempotency_key: str) -> RequestRecord | None: ...

    def add_request(self, request: RequestRecord) -> None:
        """Insert.

        Raises:
            StaleVersionError: somebody else inserted the key first; read it and compare. It is told
                at the end of the transaction at the latest, which is given up then.
        """
        ...

    # breakers
    def find_breaker(self, host: str) -> Breaker | None: ...

    def lock_breaker(self, host: str) -> Breaker | None:
        """The breaker, with its row locked until the end of the transaction."""
        ...

    def save_breaker(self, breaker: Breaker) -> None: ...

    # locks
    def try_lock(self, name: str, holder: str, now: datetime, expires_at: datetime) -> bool:
        """Take or renew a named lock; False while another holder's has not expired."""
        ...

    def renew_lock(self, name: str, holder: str, expires_at: datetime) -> bool:
        """Renew a lock that is held; False where it is another's by now, or nobody's."""
        ...

    def unlock(self, name: str, holder: str) -> None: ...

    def find_lock_holder(self, name: str, now: datetime) -> str | None: ...


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
