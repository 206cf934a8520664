"""What the factory asks of the outside, as Protocols. Services import these and nothing behind them.

Every method of a port that talks to something outside may raise ``TransientError`` (a retry may
help) or ``PermanentError`` (it will not); adapters translate their library's errors into these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory import Collection, Memory, Recalled
from factory_runtime.domain.records import (
    Effect,
    EffectStatus,
    OutboxMessage,
    RequestRecord,
    RunEvent,
    TemplateRecord,
)
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile, TreeReference

T = TypeVar("T")


class Clock(Protocol):
    """Time, aware and injected."""

    def now(self) -> datetime: ...


# --- the run store


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list. Newest request first."""

    project_id: str | None = None
    template_id: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    requested_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; ``cursor`` asks for the next part and is None at the end."""

    items: tuple[T, ...]
    cursor: str | None = None


class RunTransaction(Protocol):
    """One use case on one tenant's rows: all of it is committed, or none.

    Every query it makes adds the tenant it was begun for; a row of another tenant is not there.
    Ids that are unknown raise the port's NotFound error.
    """

    @property
    def tenant_id(self) -> str: ...

    # runs and jobs
    def add_run(self, run: Run, jobs: Sequence[Job] = ()) -> None:
        """Insert a run with its jobs, and an event each for the run's first status."""
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

    def find_run_by_flow_run(self, flow_run_id: str) -> Run | None: ...

    def get_job(self, run_id: str, step: str) -> Job: ...

    def list_jobs(self, run_id: str) -> tuple[Job, ...]:
        """All jobs of a run in plan order."""
        ...

    def save_job(self, before: Job, after: Job, *, detail: Mapping[str, Any] | None = None) -> None:
        """Compare-and-set on ``before.version`` and ``before.fencing_token``; as ``save_run``."""
        ...

    # attempts
    def add_attempt(self, attempt: Attempt) -> None:
        """Insert.

        Raises:
            DuplicateAttemptError: its key stands already.
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
        limit: int = 200,
    ) -> tuple[Artifact, ...]:
        """Newest first; oldest first within one run."""
        ...

    def touch_artifact(self, artifact_id: str, accessed_at: datetime) -> None: ...

    # events
    def add_event(self, event: RunEvent) -> None: ...

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]:
        """Events of a run with a sequence greater than ``after``, in order."""
        ...

    # the effect ledger
    def intend_effect(self, effect: Effect) -> Effect:
        """Write it down before it is done; if it stands already, give what stands."""
        ...

    def confirm_effect(self, effect_key: str, kind: str, reference: str, at: datetime) -> None: ...

    def list_effects(
        self, *, run_id: str | None = None, status: EffectStatus | None = None, limit: int = 1000
    ) -> tuple[Effect, ...]: ...

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
            StaleVersionError: somebody else inserted the key first; read it and compare.
        """
        ...

    # locks
    def try_lock(self, name: str, holder: str, now: datetime, expires_at: datetime) -> bool:
        """Take or renew a named lock; False while another holder's has not expired."""
        ...

    def unlock(self, name: str, holder: str) -> None: ...

    def find_lock_holder(self, name: str, now: datetime) -> str | None: ...

    # memory records
    def save_memories(self, memories: Iterable[Memory]) -> None:
        """Insert or replace by id, vector and all."""
        ...

    def list_memories(
        self,
        *,
        collection: Collection | None = None,
        run_id: str | None = None,
        limit: int = 1000,
        after_id: str | None = None,
    ) -> tuple[Memory, ...]:
        """In the order of ids; ``after_id`` continues."""
        ...


class RunStore(Protocol):
    """The record. Safe to use from many threads and processes."""

    def begin(
        self, tenant_id: str, *, read_only: bool = False
    ) -> AbstractContextManager[RunTransaction]:
        """A transaction that commits when its block ends and rolls back when it raises.

        One that only reads never waits for writers, and refuses to write. A thread has one
        writing transaction at a time.

        Raises:
            StoreUnavailableError: the database does not answer or cannot write.
            CorruptStoreError: it is damaged or not one of ours.
        """
        ...

    def due_messages(self, now: datetime, limit: int = 100) -> tuple[OutboxMessage, ...]:
        """Outbox messages of every tenant that are to be handled now, oldest first."""
        ...

    def dispatchable_runs(self, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """``(tenant_id, run_id)`` of Validated runs, by priority and then by age."""
        ...

    def running_runs(self) -> tuple[tuple[str, str], ...]:
        """``(tenant_id, run_id)`` of Queued, Running and Waiting runs."""
        ...

    def close(self) -> None: ...


# --- artifact storage


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body in storage; ``digest`` (SHA-256, 64 hex digits) is its name."""

    digest: str
    size: int

    @property
    def uri(self) -> str:
        return f"artifact:sha256:{self.digest}"


class ArtifactStorage(Protocol):
    """Content-addressed bodies, a wall between tenants, create-only.

    Raises, from every method: StorageFullError where the disk is full or read-only.
    """

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        """Store the bytes; storing them twice is storing them once. Durable when it returns."""
        ...

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        """The bytes, as a stream that the caller closes. It is not yet verified.

        Raises:
            ArtifactNotFoundError: no such body for this tenant.
        """
        ...

    def read(self, tenant_id: str, digest: str) -> bytes:
        """The bytes, verified.

        Raises:
            ArtifactNotFoundError: no such body for this tenant.
            CorruptArtifactError: they do not match their digest.
        """
        ...

    def verify(self, tenant_id: str, digest: str) -> bool:
        """Whether the body is there and matches its digest, read as a stream."""
        ...

    def exists(self, tenant_id: str, digest: str) -> bool: ...

    def delete(self, tenant_id: str, digest: str) -> None: ...


# --- git hosts


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a host.

    Attributes:
        id: the host's own id for it.
        url: what to ``git clone``.
        created: whether this call made it.
    """

    id: str
    name: str
    url: str
    default_branch: str
    created: bool = False


@dataclass(frozen=True, slots=True)
class CommitOrder:
    """One commit to be made once.

    Attributes:
        trailers: in order, like ``(("Factory-Run", "run-…"), ("Factory-Step", "…"))``. The first
            two name the commit: one with the same two is this one.
        follows: steps of this run that it waits for, directly or not: it may write over their
            files, but not over the files of any other step of the run.
    """

    project_id: str
    repository: str
    message: str
    trailers: tuple[tuple[str, str], ...]
    author: str
    at: datetime
    follows: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit on the default branch; ``created`` says whether this call made it."""

    sha: str
    url: str
    files: int
    created: bool


class GitHost(Protocol):
    """Where repositories live. ``project_id`` is the folder or project they live in."""

    name: str

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None: ...

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        """Make it, or find the one that an earlier attempt or an earlier run of the project made.

        Raises:
            RepositoryTakenError: it exists and is not ours, or people have committed to it.
            InputError: the name cannot be a repository's.
        """
        ...

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        """Put the files onto the default branch in one commit, exactly once.

        Files that the branch has and the commit does not mention stay. The branch moves from one
        whole commit to the next; concurrent commits end up one behind the other.

        Raises:
            LayerConflictError: another step that it does not follow wrote one of the files.
        """
        ...

    def find_commit(
        self,
        tenant_id: str,
        project_id: str,
        repository: str,
        trailers: tuple[tuple[str, str], ...],
    ) -> Commit | None:
        """The commit with these trailers: the probe that tells whether an effect was done."""
        ...


# --- job types


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Who and what a job runs for."""

    tenant_id: str
    project_id: str
    run_id: str
    step: str
    attempt: int
    effect_key: str
    template_id: str
    template_version: str
    requested_by: str
    module_id: str | None = None
    follows: frozenset[str] = frozenset()


class JobContext(Protocol):
    """What the engine lends a job type while it publishes."""

    @property
    def facts(self) -> JobFacts: ...

    @property
    def host(self) -> GitHost: ...

    @property
    def storage(self) -> ArtifactStorage: ...

    def now(self) -> datetime: ...

    def intend(self, kind: str, target: str) -> str | None:
        """Write an outside effect into the ledger before doing it, durably.

        Returns what an earlier attempt confirmed, or None.
        """
        ...

    def log(self, message: str) -> None:
        """One line for people, shown by `factory runs logs`."""
        ...

    def check_cancelled(self) -> None:
        """Raises CancelledError where somebody asked the run to stop. Cheap; call it in loops."""
        ...


class FileTree(Protocol):
    """A rendered tree, read as often as needed."""

    @property
    def reference(self) -> TreeReference: ...

    def files(self) -> Iterator[TreeFile]: ...


class JobType(Protocol):
    """A kind of work, in two halves. Packages offer theirs under ``factory_runtime.job_types``."""

    @property
    def facts(self) -> JobTypeFacts: ...

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        """Pure: what is to be rendered for this ``with``; None if nothing is."""
        ...

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        """The effect: put the tree where it belongs. It may be called again after a kill."""
        ...


# --- Prefect


class Launcher(Protocol):
    """Asks Prefect to start runs. The only thing the core wants of it."""

    def launch(self, run: Run) -> str:
        """Create the flow run of a run, idempotent by run id; its id."""
        ...


# --- memory


class Embedder(Protocol):
    """Text to vectors of unit length."""

    model: str
    version: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What to look for, in one tenant's memory."""

    text: str
    collections: tuple[Collection, ...] = (Collection.RUNS, Collection.TEMPLATES)
    project_id: str | None = None
    outcome: str | None = None
    limit: int = 5
    exclude_run_ids: tuple[str, ...] = field(default=())


class MemoryIndex(Protocol):
    """The vector index: made from memory records, and can be made again.

    Raises, from every method: MemoryUnavailableError.
    """

    def upsert(self, tenant_id: str, memories: Sequence[Memory]) -> None:
        """Put rows in by id, exactly once in effect. Every memory has its vector."""
        ...

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """The most alike first, over all the query's collections together."""
        ...

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None: ...

    def count(self, tenant_id: str, collection: Collection) -> int: ...
