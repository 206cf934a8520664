"""Who waits for a slot and who waits for a topic: what dispatchers and claims decide by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from factory_runtime.domain.records import Breaker, SetAside, TopicWait

if TYPE_CHECKING:
    from factory_runtime.ports.run_store import RunTransaction

EVERYBODY = "*"
"""No tenant is called that: what belongs to all of them together."""


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """Names a run among those of all tenants."""

    tenant_id: str
    run_id: str


@dataclass(frozen=True, slots=True, order=True)
class JobKey:
    """Names a job among those of all tenants."""

    tenant_id: str
    run_id: str
    step: str


@dataclass(frozen=True, slots=True)
class SeenRun:
    """An open run with a flow run, as it was when it was seen; of its row, what nothing can damage."""

    key: RunKey
    flow_run_id: str
    version: int


@dataclass(frozen=True, slots=True)
class RoutedJob:
    """An open job that a flow run was made for elsewhere; of its row, what nothing can damage.

    Attributes:
        claimed: whether a worker there is at it.
    """

    key: JobKey
    flow_run_id: str
    claimed: bool


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run in the queue for a slot.

    Attributes:
        rank: of its priority, the lower first.
        age: sorts by when it was requested; not read any further, so that a row which is damaged
            holds up no other.
    """

    tenant_id: str
    run_id: str
    project_id: str
    rank: int
    age: Any

    @property
    def key(self) -> RunKey:
        return RunKey(self.tenant_id, self.run_id)

    @property
    def place(self) -> tuple[int, Any, str]:
        """Sorts the runs of one tenant: by priority, then by age."""
        return (self.rank, self.age, self.run_id)


@dataclass(frozen=True, slots=True, order=True)
class SlotHolder:
    """A run that has a slot."""

    tenant_id: str
    project_id: str
    run_id: str


class TopicQueue(Protocol):
    """The jobs of one type, of all tenants: what caps are decided by."""

    def at_work(self) -> tuple[JobKey, ...]:
        """Those that are claimed."""
        ...

    def waits(self, seen_after: datetime) -> tuple[TopicWait, ...]:
        """Those that wait for it and were seen since, or are to come back: by priority and age."""
        ...

    def served(self) -> Mapping[str, float]:
        """As of ``DispatchTransaction``, in the virtual time of this topic."""
        ...

    def serve(self, tenant_id: str, served: float) -> None:
        """Write where a tenant stands, with the topic locked."""
        ...


class DispatchTransaction(Protocol):
    """Who gets a slot, decided by one dispatcher at a time over the runs of all tenants.

    A run wants a slot that is Validated; Queued or Running and without one (resumed, retried, or
    left by a killed process); Waiting, when its time has come. None that is asked to pause or
    cancel.
    """

    def holders(self) -> tuple[SlotHolder, ...]:
        """The runs that have a slot."""
        ...

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        """Runs that want a slot now, of all tenants, by priority and then by age."""
        ...

    def heads(self, now: datetime) -> tuple[WaitingRun, ...]:
        """Of each tenant with runs that want a slot the first, but for those that are set aside."""
        ...

    def queue_of(
        self,
        tenant_id: str,
        now: datetime,
        *,
        limit: int,
        without_projects: Collection[str] = (),
    ) -> tuple[WaitingRun, ...]:
        """A tenant's runs that want a slot, in their order, but for those that are set aside."""
        ...

    def served(self) -> Mapping[str, float]:
        """Where each tenant stands in virtual time; under ``EVERYBODY`` that time itself."""
        ...

    def serve(self, tenant_id: str, served: float) -> None:
        """Write where a tenant stands, or under ``EVERYBODY`` the virtual time."""
        ...

    def topic(self, topic: str) -> TopicQueue:
        """The jobs of one type, to be looked at."""
        ...

    def of_tenant(self, tenant_id: str) -> RunTransaction:
        """The same transaction, on one tenant's rows."""
        ...


class QueueRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, but where it says otherwise."""

    # runs that could not be started
    def find_set_aside(self, run_id: str) -> SetAside | None: ...

    def save_set_aside(self, aside: SetAside) -> None:
        """Insert or replace."""
        ...

    def drop_set_aside(self, run_id: str) -> None: ...

    # hosts
    def open_breakers(self, now: datetime) -> tuple[Breaker, ...]:
        """Of the hosts of which nothing is asked now."""
        ...

    # topics
    def lock_topic(self, topic: str) -> TopicQueue:
        """The topic, once no other transaction, of any tenant, decides on it.

        Hold the run's row before.
        """
        ...

    def find_topic_wait(self, run_id: str, step: str) -> TopicWait | None: ...

    def list_topic_waits(self, run_id: str) -> tuple[TopicWait, ...]:
        """Those of a run's jobs."""
        ...

    def save_topic_wait(self, wait: TopicWait) -> None:
        """Insert, or write when it was seen again."""
        ...

    def drop_topic_waits(self, run_id: str, step: str | None = None) -> None:
        """Those of a run, or of one of its jobs."""
        ...
