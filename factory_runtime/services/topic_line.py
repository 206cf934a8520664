"""The line for a topic: who goes before whom, and for whom there is room. Pure.

Fair between tenants as the queue for slots is (``turns``): each job moves its tenant on by one over
its weight in the topic's virtual time, and who stands the furthest back is next. Within a tenant
the urgent go first, then those who came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from factory_runtime.domain.records import TopicWait
from factory_runtime.ports import EVERYBODY, JobKey


@dataclass(frozen=True, slots=True)
class TopicCaps:
    """What is known of a topic's caps.

    Attributes:
        everybody: jobs of all tenants; None is no cap.
        by_tenant: of those tenants alone that have one of their own.
        prices: how far a job moves a tenant on; 1 for those that are not named.
    """

    everybody: int | None
    by_tenant: Mapping[str, int]
    prices: Mapping[str, float] = field(default_factory=dict[str, float])

    def price(self, tenant_id: str) -> float:
        return self.prices.get(tenant_id, 1.0)

    def concern(self, tenant_id: str, waits: Iterable[TopicWait]) -> list[TopicWait]:
        """Those of the jobs in line that are under one cap with a tenant's."""
        alone = self.everybody is None
        return [wait for wait in waits if not alone or wait.tenant_id == tenant_id]


@dataclass(frozen=True, slots=True)
class Line:
    """A topic as it was looked at.

    Attributes:
        at_work: jobs of all tenants that are claimed.
        served: where tenants stand in its virtual time; under ``EVERYBODY`` that time itself.
    """

    at_work: Sequence[JobKey]
    waits: Sequence[TopicWait]
    served: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a job stands in line.

    Attributes:
        ahead: how many go before it.
        has_room: there is room for it now, with those before it.
        is_next: none of those before it has any.
    """

    ahead: int
    has_room: bool
    is_next: bool


class Room:
    """What is left of the caps while jobs begin one after the other."""

    def __init__(self, at_work: Iterable[JobKey], caps: TopicCaps) -> None:
        self._taken = Counter(key.tenant_id for key in at_work)
        self._caps = caps

    def left_for(self, tenant_id: str) -> bool:
        own, everybody = self._caps.by_tenant.get(tenant_id), self._caps.everybody
        return (everybody is None or self._taken.total() < everybody) and (
            own is None or self._taken[tenant_id] < own
        )

    def take(self, tenant_id: str) -> None:
        self._taken[tenant_id] += 1


def start_of(tenant_id: str, served: Mapping[str, float]) -> float:
    """Where a tenant stands: who had nothing to ask for is brought up to the present."""
    return max(served.get(tenant_id, 0.0), served.get(EVERYBODY, 0.0))


def in_turn(line: Line, waits: Iterable[TopicWait], caps: TopicCaps) -> list[TopicWait]:
    """The jobs in the order in which they go. Of tenants that stand alike, who has fewer at work."""
    held, asked = Counter(key.tenant_id for key in line.at_work), Counter[str]()
    order: list[tuple[float, float, TopicWait]] = []
    for wait in sorted(waits, key=_place):
        tenant_id = wait.tenant_id
        price, number = caps.price(tenant_id), asked[tenant_id]
        start = start_of(tenant_id, line.served) + number * price
        order.append((start, (held[tenant_id] + number) * price, wait))
        asked[tenant_id] += 1
    order.sort(key=lambda one: (one[0], one[1], one[2].since, _job(one[2])))
    return [wait for _, _, wait in order]


def stand(mine: TopicWait, line: Line, caps: TopicCaps) -> Stand:
    """Where a job stands, whether it is in line already or not.

    Those whose own tenant has no room stand in the way of nobody else's.
    """
    others = [wait for wait in line.waits if _job(wait) != _job(mine)]
    room, is_next = Room(line.at_work, caps), True
    for ahead, wait in enumerate(
        in_turn(line, caps.concern(mine.tenant_id, [*others, mine]), caps)
    ):
        if wait is mine:
            return Stand(ahead, room.left_for(mine.tenant_id), is_next)
        if room.left_for(wait.tenant_id):
            room.take(wait.tenant_id)
            is_next = False
    raise AssertionError("a job stands in its own line")


def _job(wait: TopicWait) -> tuple[str, str, str]:
    return (wait.tenant_id, wait.run_id, wait.step)


def _place(wait: TopicWait) -> tuple[object, ...]:
    return (wait.priority.rank, wait.since, *_job(wait))
