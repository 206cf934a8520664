"""What hosts offer beside repositories, as tests see it: with what people can see and do there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from factory_runtime.domain.errors import ConflictError, HostBusyError, InputError, NotFoundError
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.ports import (
    Build,
    BuildOrder,
    BuildResult,
    BuildStatus,
    Delivery,
    HookOrder,
    Link,
    Pipeline,
    PipelineOrder,
    PullRequest,
    PullRequestOrder,
    PullRequestStatus,
    WorkItem,
    WorkItemOrder,
)

T = TypeVar("T")
AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Offered(Protocol):
    """A host's offer to the tenants acme and rival in the project shop, and what people do there.

    There is a repository ``orders`` with a pipeline's YAML on ``main`` and a branch ``topic``.
    """

    @property
    def delivery(self) -> Delivery: ...

    def lose_next_answer(self, what: str) -> None:
        """What is ordered next is made, and nobody is told: build, pipeline, and so on."""
        ...

    def queue_by_hand(self, pipeline_id: str) -> str: ...

    def finish(self, build_id: str, result: BuildResult, log: str = "") -> None: ...

    def merge(self, pull_request_id: str) -> None: ...

    def open_by_hand(self, branch: str) -> None:
        """A pull request into main."""
        ...

    def builds(self) -> list[str]: ...

    def pipelines(self) -> list[str]: ...

    def work_items(self) -> list[str]: ...

    def links_of(self, work_item_id: str) -> int: ...

    def pull_requests(self) -> list[str]: ...

    def hooks(self) -> list[str]: ...


@dataclass
class _Made(Generic[T]):
    """Something of one tenant; without a key where people made it."""

    tenant_id: str
    effect_key: str | None
    value: T


@dataclass
class MemoryDelivery:
    """An offer in memory: it marks a build once it is queued, as Azure DevOps does.

    Attributes:
        lost: of what the next answer is lost.
        kill_after: what was ordered last by a process that is killed then.
        busy: how many requests it asks to come back later.
    """

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    made_pipelines: list[_Made[tuple[Pipeline, PipelineOrder]]] = field(default_factory=list)
    made_builds: list[_Made[Build]] = field(default_factory=list)
    pipeline_of: dict[str, str] = field(default_factory=dict[str, str])
    orders: list[BuildOrder] = field(default_factory=list[BuildOrder])
    logs: dict[str, str] = field(default_factory=dict[str, str])
    made_requests: list[_Made[PullRequest]] = field(default_factory=list)
    made_items: list[_Made[WorkItem]] = field(default_factory=list)
    links: dict[str, set[Link]] = field(default_factory=dict[str, set[Link]])
    made_hooks: list[_Made[str]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set[str])
    kill_after: set[str] = field(default_factory=set[str])
    busy: int = 0

    # as the port has it

    def ensure_pipeline(self, tenant_id: str, order: PipelineOrder) -> Pipeline:
        self._check(order.project_id)
        found = self.find_pipeline(
            tenant_id, order.project_id, order.name, effect_key=order.effect_key
        ) or self._same_file(tenant_id, order)
        if found is not None:
            return found
        number = str(next(self.numbers))
        pipeline = Pipeline(number, order.name, f"https://host/shop/pipelines/{number}")
        self.made_pipelines.append(_Made(tenant_id, order.effect_key, (pipeline, order)))
        return self._told("pipeline", replace(pipeline, created=True))

    def find_pipeline(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str
    ) -> Pipeline | None:
        self._check(project_id)
        found = _of(self.made_pipelines, tenant_id, effect_key)
        return found[0] if found is not None and found[0].name == name else None

    def ensure_build(self, tenant_id: str, order: BuildOrder) -> Build:
        found = self.find_build(
            tenant_id,
            order.project_id,
            order.pipeline_id,
            effect_key=order.effect_key,
            since=order.since,
        )
        if found is not None:
            return found
        self.orders.append(order)
        build = self._queue(order.pipeline_id, tenant_id, None)
        self._told("build", build)
        self.made_builds[-1].effect_key = order.effect_key
        return replace(build, created=True)

    def find_build(
        self,
        tenant_id: str,
        project_id: str,
        pipeline_id: str,
        *,
        effect_key: str,
        since: datetime | None = None,
    ) -> Build | None:
        self._check(project_id)
        found = _of(self.made_builds, tenant_id, effect_key)
        if found is None and since is not None and since > LONG_AGO:
            for made in self.made_builds:
                if (made.tenant_id, made.effect_key) == (tenant_id, None):
                    made.effect_key = effect_key
                    return made.value
        return found

    def get_build(self, tenant_id: str, project_id: str, build_id: str) -> Build:
        self._check(project_id)
        return self._build(build_id).value

    def cancel_build(self, tenant_id: str, project_id: str, build_id: str) -> None:
        if self._build(build_id).value.status is not BuildStatus.ENDED:
            self.finish(build_id, BuildResult.CANCELLED)

    def read_log(self, tenant_id: str, project_id: str, build_id: str) -> Iterator[bytes]:
        for line in self.logs.get(build_id, "").splitlines(keepends=True):
            yield line.encode()

    def ensure_pull_request(self, tenant_id: str, order: PullRequestOrder) -> PullRequest:
        found = self.find_pull_request(
            tenant_id, order.project_id, order.repository, effect_key=order.effect_key
        )
        if found is not None:
            return found
        target = order.target or "main"
        if any(
            one.value.branch == order.branch and one.value.is_open for one in self.made_requests
        ):
            raise ConflictError(f"{order.branch} has a pull request that is not ours")
        number = str(next(self.numbers))
        request = PullRequest(
            number, f"https://host/pr/{number}", order.branch, target, PullRequestStatus.OPEN
        )
        self.made_requests.append(_Made(tenant_id, order.effect_key, request))
        return self._told("pull-request", replace(request, created=True))

    def find_pull_request(
        self, tenant_id: str, project_id: str, repository: str, *, effect_key: str
    ) -> PullRequest | None:
        self._check(project_id)
        return _of(self.made_requests, tenant_id, effect_key)

    def abandon_pull_request(
        self, tenant_id: str, project_id: str, repository: str, pull_request_id: str
    ) -> None:
        for made in self.made_requests:
            if made.value.id == pull_request_id and made.value.is_open:
                made.value = replace(made.value, status=PullRequestStatus.ABANDONED)

    def ensure_work_item(self, tenant_id: str, order: WorkItemOrder) -> WorkItem:
        found = self.find_work_item(tenant_id, order.project_id, effect_key=order.effect_key)
        if found is not None:
            self.links[found.id] |= set(order.links)
            return found
        number = str(next(self.numbers))
        item = WorkItem(number, f"https://host/items/{number}")
        self.made_items.append(_Made(tenant_id, order.effect_key, item))
        self.links[number] = set(order.links)
        return self._told("work-item", replace(item, created=True))

    def find_work_item(
        self, tenant_id: str, project_id: str, *, effect_key: str
    ) -> WorkItem | None:
        self._check(project_id)
        return _of(self.made_items, tenant_id, effect_key)

    def ensure_hook(self, tenant_id: str, order: HookOrder) -> str:
        self._check(order.project_id)
        found = _of(self.made_hooks, tenant_id, order.effect_key)
        if found is None:
            found = str(next(self.numbers))
            self.made_hooks.append(_Made(tenant_id, order.effect_key, found))
            self._told("hook", found)
        return found

    # as people see it

    @property
    def delivery(self) -> Delivery:
        return self

    def lose_next_answer(self, what: str) -> None:
        self.lost.add(what)

    def queue_by_hand(self, pipeline_id: str) -> str:
        return self._queue(pipeline_id, "", "by hand").id

    def finish(self, build_id: str, result: BuildResult, log: str = "") -> None:
        made = self._build(build_id)
        made.value = replace(made.value, status=BuildStatus.ENDED, result=result, commit="ab" * 20)
        self.logs[build_id] = log

    def run(self, build_id: str) -> None:
        made = self._build(build_id)
        made.value = replace(made.value, status=BuildStatus.RUNNING)

    def lose(self, build_id: str) -> None:
        """Somebody deletes it."""
        self.made_builds.remove(self._build(build_id))

    def merge(self, pull_request_id: str) -> None:
        for made in self.made_requests:
            if made.value.id == pull_request_id:
                made.value = replace(made.value, status=PullRequestStatus.MERGED)

    def open_by_hand(self, branch: str) -> None:
        request = PullRequest("77", "https://host/pr/77", branch, "main", PullRequestStatus.OPEN)
        self.made_requests.append(_Made("", None, request))

    def builds(self) -> list[str]:
        return [made.value.id for made in self.made_builds]

    def pipelines(self) -> list[str]:
        return [made.value[0].id for made in self.made_pipelines]

    def work_items(self) -> list[str]:
        return [made.value.id for made in self.made_items]

    def links_of(self, work_item_id: str) -> int:
        return len(self.links[work_item_id])

    def pull_requests(self) -> list[str]:
        return [made.value.id for made in self.made_requests]

    def hooks(self) -> list[str]:
        return [made.value for made in self.made_hooks]

    def _check(self, project_id: str) -> None:
        if self.busy:
            self.busy -= 1
            raise HostBusyError("the host asks to come back later")
        if project_id != "shop":
            raise InputError(f"the host has no project {project_id}")

    def _told(self, what: str, value: T) -> T:
        if what in self.kill_after:
            self.kill_after.remove(what)
            raise KeyboardInterrupt
        if what in self.lost:
            self.lost.remove(what)
            raise HostBusyError("the host does not answer")
        return value

    def _same_file(self, tenant_id: str, order: PipelineOrder) -> Pipeline | None:
        for made in self.made_pipelines:
            pipeline, theirs = made.value
            if (made.tenant_id, theirs.repository, theirs.file, theirs.name) == (
                tenant_id, order.repository, order.file, order.name,
            ):  # fmt: skip
                return pipeline
        return None

    def _queue(self, pipeline_id: str, tenant_id: str, effect_key: str | None) -> Build:
        number = str(next(self.numbers))
        build = Build(number, f"2026.{number}", f"https://host/b/{number}", BuildStatus.QUEUED)
        self.made_builds.append(_Made(tenant_id, effect_key, build))
        self.pipeline_of[number] = pipeline_id
        return build

    def _build(self, build_id: str) -> _Made[Build]:
        for made in self.made_builds:
            if made.value.id == build_id:
                return made
        raise NotFoundError(f"no build {build_id}")


def _of(made: list[_Made[T]], tenant_id: str, effect_key: str) -> T | None:
    return next(
        (one.value for one in made if (one.tenant_id, one.effect_key) == (tenant_id, effect_key)),
        None,
    )


class OfferingGitHost(InMemoryGitHost):
    """A git host in memory that offers more than repositories."""

    def __init__(self) -> None:
        super().__init__()
        self.offer = MemoryDelivery()
        self.offers = True

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        del tenant_id
        return self.offer if self.offers else None
