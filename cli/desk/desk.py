"""What commands ask for and have done: of the stores here, or of a Factory API."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from factory_runtime.domain.run import Run

if TYPE_CHECKING:
    from cli.desk.hooks import Hooks
    from cli.desk.keeping import Keeping
    from cli.desk.reading import Reading
    from cli.watching import Watcher
    from factory_runtime.domain.api_key import ApiKey
    from factory_runtime.domain.approval import Approval
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.audit import AuditFilter
    from factory_runtime.domain.body import Body
    from factory_runtime.domain.context import Bundle, Task
    from factory_runtime.domain.dead_letter import (
        Change,
        DeadLetter,
        LetterFilter,
        LetterGroup,
        RedriveOrder,
    )
    from factory_runtime.domain.document import Added, Document
    from factory_runtime.domain.failure_hints import FailureHints
    from factory_runtime.domain.job import Job
    from factory_runtime.domain.memory import Erased, ForgetScope, Recalled
    from factory_runtime.domain.plan import Plan
    from factory_runtime.domain.publication import Publication
    from factory_runtime.domain.records import (
        AuditEntry,
        Effect,
        EffectStatus,
    )
    from factory_runtime.domain.run import RunRequest
    from factory_runtime.domain.shown_memory import ShownMemory
    from factory_runtime.domain.suggestion import Suggestion
    from factory_runtime.domain.template import Template
    from factory_runtime.ports import Page, RecallQuery, RunFilter
    from factory_runtime.services.api_keys import WantedKey
    from factory_runtime.services.approvals import Decided
    from factory_runtime.services.dead_letters import Discarded
    from factory_runtime.services.link_artifact import Link
    from factory_runtime.services.preview import Preview
    from factory_runtime.services.standing import Reason


@dataclass(frozen=True)
class Person:
    """As whom the commands are typed."""

    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Offer:
    """A template as a run would get it now.

    Attributes:
        version, title, description: empty where it cannot be read.
        origin: a folder or an address; empty where that is not told.
        allowed: whether policies allow it; None where that is not known.
    """

    id: str
    published: tuple[Publication, ...]
    version: str = ""
    title: str = ""
    description: str = ""
    origin: str = ""
    allowed: bool | None = None
    problem: str | None = None


class Looks(Protocol):
    """What can be asked."""

    @property
    def tenant(self) -> str:
        """Whose records; asked for where a credential says it."""
        ...

    @property
    def project(self) -> str:
        """Where runs belong that say nothing of it."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Between two looks at something that is waited for."""
        ...

    def now(self) -> datetime: ...

    def typed(self, line: str) -> str:
        """A line with commands in it, as they are typed to this desk."""
        ...

    def me(self) -> Person: ...

    def reading(self) -> AbstractContextManager[Reading]:
        """What is read within stood so at one moment, or, over HTTP, within a few."""
        ...

    def watch(self, run_id: str) -> Watcher:
        """Raises RunNotFoundError."""
        ...

    def value_of(self, body: Body | None) -> Any:
        """What a body holds; one that cannot be read says so."""
        ...

    def plan_of(self, run: Run) -> Plan | None:
        """The plan that a run goes by; None where it has none, or none that can be read."""
        ...

    def why_no_grant(self, approval: Approval) -> str | None:
        """Why whoever types may not grant it, as what follows their name."""
        ...

    def approved_plan(self, approval: Approval) -> Plan:
        """Raises FactoryError: it is gone, or is not what the approval's digest is of."""
        ...

    def inputs_schema(self, template: str, version: str | None) -> Mapping[str, Any]:
        """Raises FactoryError: there is no such template."""
        ...

    def schema_of_run(self, run: Run, version: str | None) -> Mapping[str, Any]:
        """Raises FactoryError: its template is gone."""
        ...

    def inputs_of(self, run: Run) -> Mapping[str, Any]: ...

    def title_of(self, run: Run) -> tuple[str, str]:
        """Its template's title and description."""
        ...

    def list_runs(
        self, where: RunFilter, *, limit: int, cursor: str | None
    ) -> tuple[Page[Run], Mapping[str, tuple[Reason, ...]]]:
        """Runs, the newest request first; and why open ones stand where they do, by id."""
        ...

    def reasons_of(self, run: Run, jobs: Iterable[Job]) -> tuple[Reason, ...]: ...

    def is_executed(self) -> bool:
        """Whether somebody is there to execute runs, as far as that is seen from here."""
        ...

    def ui_url(self) -> str | None:
        """The address of the Prefect UI, if its stack is up here."""
        ...

    def recall(self, asked: RecallQuery, where: str | None = None) -> tuple[Recalled, ...]:
        """The best first; ``where`` is a filter as somebody typed it.

        Raises:
            InputError: there is nothing to look for, or the filter says what none can.
            MemoryUnavailableError: the model or the index cannot be used.
        """
        ...

    def context(self, task: Task) -> Bundle:
        """What is known about a task.

        Raises:
            InputError: there is no task, or its budget or time is out of bounds.
            MemoryUnavailableError: the model or the index cannot be used.
        """
        ...

    def read_context(self, package_id: str) -> Bundle:
        """Raises ContextPackageNotFoundError: there is none, or it has expired."""
        ...

    def memories_of(self, run_id: str) -> tuple[ShownMemory, ...]:
        """What a run was shown of the memory, what it made use of first."""
        ...

    def suggest(self, text: str, project: str | None) -> Suggestion:
        """A template that fits the text, with inputs from runs of the project, or of all.

        Raises:
            InputError: there is no text.
            MemoryUnavailableError: the model or the index cannot be used.
        """
        ...

    def body_of(self, artifact: Artifact) -> AbstractContextManager[BinaryIO]:
        """An artifact's bytes, found to match their digest; that they were read is recorded.

        Raises:
            ArtifactNotFoundError: they are gone.
            CorruptArtifactError: they are not what was recorded.
        """
        ...

    def link_to(self, artifact: Artifact, good_for: timedelta) -> Link:
        """An address that gives an artifact's bytes to whoever has it; that is recorded.

        Raises:
            ArtifactNotFoundError: they are gone.
            NoLinksError: the storage gives none.
        """
        ...

    def list_effects(
        self, run_id: str | None, status: EffectStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[Effect, ...], str | None]:
        """Effects, the oldest first, and the cursor of those that follow."""
        ...

    def letter_groups(self, *, limit: int) -> tuple[LetterGroup, ...]: ...

    def whole_fingerprint(self, beginning: str) -> str:
        """A kind of failure, by the first digits of its fingerprint.

        Raises:
            InputError: they are none, or more than one begins so.
            DeadLetterNotFoundError: none does.
        """
        ...

    def tried_with(self, letter: DeadLetter) -> tuple[AuditEntry, ...]:
        """What people did with a letter, the oldest first."""
        ...

    def hints_of(self, letter: DeadLetter) -> FailureHints:
        """What is known of failures like it; it never fails, and says why where it cannot tell."""
        ...

    def read_audit(
        self, where: AuditFilter, *, limit: int, cursor: str | None
    ) -> Page[AuditEntry]: ...

    def list_keys(self, *, good_at: datetime | None, limit: int) -> tuple[ApiKey, ...]: ...

    def offers(self) -> tuple[tuple[Offer, ...], str | None]:
        """The templates there are; and why none can be asked for, if so."""
        ...

    def template_names(self) -> frozenset[str]:
        """Of templates that there are, in order or not: for the shell to complete."""
        ...

    def template(self, name: str, version: str | None) -> tuple[Template, Publication | None]:
        """A template, and where it was published from.

        Raises:
            NotFoundError: there is none.
        """
        ...


class Desk(Looks, Protocol):
    """And what can be done. Errors are those of the services."""

    @property
    def hooks(self) -> Hooks: ...

    @property
    def keeping(self) -> Keeping: ...

    def preview(self, request: RunRequest) -> Preview: ...

    def request(self, request: RunRequest) -> Run: ...

    def cancel(self, run_id: str, *, undo: bool = False) -> Run: ...

    def add_document(self, document: Document) -> Added:
        """Raises InputError: there is no text in it, or it is too large."""
        ...

    def index_added(self) -> None:
        """Have what was added found at once, where that is done here."""
        ...

    def forget(self, scope: ForgetScope, key: str) -> Erased:
        """Erase what a run or a project taught, or the tenant's all, for which the key is empty.

        Raises NotFoundError: there is no such run or project.
        """
        ...

    def index_forgotten(self) -> bool:
        """Take it out of the index as well, where that is done here; whether it is."""
        ...

    def pause(self, run_id: str) -> Run: ...

    def resume(self, run_id: str) -> Run: ...

    def retry(self, run_id: str, change: Change) -> Run: ...

    def retry_job(self, run_id: str, step: str, change: Change) -> Run: ...

    def undo(self, run_id: str) -> Run | None:
        """The run that undoes it; None where that is made in a minute."""
        ...

    def redrive(self, letter_id: str, change: Change, beside: Collection[str]) -> Run: ...

    def order(self, where: LetterFilter, change: Change, *, canary: bool) -> RedriveOrder: ...

    def carry_on(self, order: RedriveOrder) -> RedriveOrder:
        """An order as it stands, once it is carried out here where nobody else does that."""
        ...

    def stop_order(self, order_id: str, reason: str) -> RedriveOrder: ...

    def discard(self, letter_id: str, reason: str, *, undo: bool) -> DeadLetter: ...

    def discard_group(self, where: LetterFilter, reason: str, *, undo: bool) -> Discarded: ...

    def decide(self, approval_id: str, *, granted: bool, comment: str) -> Decided: ...

    def add_key(self, wanted: WantedKey) -> tuple[ApiKey, str]:
        """A key, and what it is shown by."""
        ...

    def rotate_key(
        self, key_id: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> tuple[ApiKey, str]: ...

    def revoke_key(self, key_id: str) -> ApiKey: ...
