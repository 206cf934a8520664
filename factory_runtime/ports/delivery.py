"""Delivery: what a host offers beside repositories. Pipelines, work items, pull requests, hooks.

Whatever is made carries its effect key where the host keeps it, and is looked for by it first:
called again, each ``ensure`` finds what an earlier call has made. What carries no key of ours is
never taken for ours, nor changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol


class PullRequestStatus(StrEnum):
    """How a pull request stands."""

    OPEN = "open"
    MERGED = "merged"
    ABANDONED = "abandoned"


class BuildStatus(StrEnum):
    """How a build stands: not begun, at work, ended."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class BuildResult(StrEnum):
    """What an ended build came to."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request; ``created`` is whether this call opened it."""

    id: str
    url: str
    branch: str
    target: str
    status: PullRequestStatus
    created: bool = False

    @property
    def is_open(self) -> bool:
        return self.status is PullRequestStatus.OPEN

    @property
    def is_merged(self) -> bool:
        return self.status is PullRequestStatus.MERGED


@dataclass(frozen=True, slots=True)
class PullRequestOrder:
    """A pull request to be opened once.

    Attributes:
        branch: that is to be merged; it is there.
        target: branch that it is merged into; None is the default branch.
        work_items: ids of work items that it is linked with.
    """

    project_id: str
    repository: str
    branch: str
    title: str
    description: str
    effect_key: str
    target: str | None = None
    work_items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline made from a file of a repository; ``created`` is whether this call made it."""

    id: str
    name: str
    url: str
    created: bool = False


@dataclass(frozen=True, slots=True)
class PipelineOrder:
    """A pipeline to be made once.

    Attributes:
        file: path of its YAML in the repository, like ``azure-pipelines.yml``.
    """

    project_id: str
    repository: str
    name: str
    file: str
    effect_key: str


@dataclass(frozen=True, slots=True)
class Build:
    """One execution of a pipeline.

    Attributes:
        number: what people call it.
        result: of one that has ended; None before.
        commit: that it builds, where the host says.
        created: whether this call queued it.
    """

    id: str
    number: str
    url: str
    status: BuildStatus
    result: BuildResult | None = None
    commit: str | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """A build to be queued once.

    Attributes:
        effect_key: of this one build: one that is tried anew has another.
        branch: None is the default branch.
        parameters: of the pipeline's template, by name.
        since: when it was asked for first. A host that can mark a build only once it is queued
            takes one of ours without a mark for this one, where it was queued since; None never.
    """

    project_id: str
    pipeline_id: str
    effect_key: str
    branch: str | None = None
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Where a work item leads: ``kind`` is one of commit, pull-request, build, page.

    Attributes:
        target: the commit's sha or the id of the rest, or the address of a page.
        repository: of a commit or a pull request.
        comment: what it is, for people.
    """

    kind: str
    target: str
    repository: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A work item; ``created`` is whether this call made it."""

    id: str
    url: str
    created: bool = False


@dataclass(frozen=True, slots=True)
class WorkItemOrder:
    """A work item to be made once, and its links, each of them once.

    Attributes:
        type: as the project's process names it, like ``Task``.
        description: plain text.
        fields: others, by reference name, like ``System.AssignedTo``.
    """

    project_id: str
    type: str
    title: str
    description: str
    effect_key: str
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class HookOrder:
    """A subscription to be made once: the host posts each event of the kind to the address.

    Attributes:
        event: as the host names it, like ``build.complete``.
        url: who is told.
        headers: sent along, secrets among them.
        login: user and password of basic authentication, sent along.
    """

    project_id: str
    event: str
    url: str
    effect_key: str
    repository: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    login: tuple[str, str] | None = None


class Delivery(Protocol):
    """What comes after a repository. Each method is for one tenant.

    Raises, from every method: HostBusyError where the host is away, too busy or asks to wait;
    HostRejectedError where it refuses, naming the permission that is missing where it tells;
    InputError where what is asked for cannot be, like a project that is not there.
    """

    def ensure_pipeline(self, tenant_id: str, order: PipelineOrder) -> Pipeline: ...

    def find_pipeline(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str
    ) -> Pipeline | None: ...

    def ensure_build(self, tenant_id: str, order: BuildOrder) -> Build: ...

    def find_build(
        self,
        tenant_id: str,
        project_id: str,
        pipeline_id: str,
        *,
        effect_key: str,
        since: datetime | None = None,
    ) -> Build | None:
        """The build of this key; ``since`` as in ``BuildOrder``."""
        ...

    def get_build(self, tenant_id: str, project_id: str, build_id: str) -> Build:
        """Raises NotFoundError: there is none of this id."""
        ...

    def cancel_build(self, tenant_id: str, project_id: str, build_id: str) -> None:
        """Have it stop; one that has ended stays as it is."""
        ...

    def read_log(self, tenant_id: str, project_id: str, build_id: str) -> Iterator[bytes]:
        """All that a build has said so far, in pieces."""
        ...

    def ensure_pull_request(self, tenant_id: str, order: PullRequestOrder) -> PullRequest: ...

    def find_pull_request(
        self, tenant_id: str, project_id: str, repository: str, *, effect_key: str
    ) -> PullRequest | None: ...

    def abandon_pull_request(
        self, tenant_id: str, project_id: str, repository: str, pull_request_id: str
    ) -> None:
        """Close it unmerged; one that is merged stays so."""
        ...

    def ensure_work_item(self, tenant_id: str, order: WorkItemOrder) -> WorkItem: ...

    def find_work_item(
        self, tenant_id: str, project_id: str, *, effect_key: str
    ) -> WorkItem | None: ...

    def ensure_hook(self, tenant_id: str, order: HookOrder) -> str:
        """The id of the subscription."""
        ...
