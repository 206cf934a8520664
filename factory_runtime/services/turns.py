"""Whose turn it is to get a slot: fair between tenants, by priority and age within each.

Start-time fair queuing. Virtual time goes on with each admission. A tenant stands where the slots
it got have brought it: each slot moves it on by one over its weight, and who stands the furthest
back is next. Who had nothing to ask for is brought up to the present: idling saves nothing up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Protocol

from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.policy import Limits
from factory_runtime.ports import EVERYBODY, RunStore, SlotHolder, WaitingRun

LimitsOf = Callable[[str], Limits]
"""A tenant's limits.

Raises PolicyUnavailableError where they cannot be read: then nothing of the tenant's starts.
"""

_LIGHTEST = 0.001
_FIRST_LOOK = 16


def no_limits(tenant_id: str) -> Limits:
    """For who has no policy to ask."""
    del tenant_id
    return Limits()


def limits_or_none(limits_of: LimitsOf, tenant_id: str) -> Limits | None:
    """None where they cannot be read now."""
    try:
        return limits_of(tenant_id)
    except PolicyUnavailableError:
        return None


def price(limits: Limits) -> float:
    """How far a slot moves a tenant on in virtual time."""
    return 1 / max(limits.weight, _LIGHTEST)


def full_projects(limits: Limits, taken: Counter[tuple[str, str]], tenant_id: str) -> set[str]:
    """Projects of a tenant that have all the slots they may."""
    return {name for name, most in limits.projects.items() if taken[tenant_id, name] >= most}


class Line(Protocol):
    """What there is to know of the queue: a part of ``DispatchTransaction``."""

    def holders(self) -> tuple[SlotHolder, ...]: ...

    def heads(self, now: datetime) -> tuple[WaitingRun, ...]: ...

    def served(self) -> Mapping[str, float]: ...

    def queue_of(
        self,
        tenant_id: str,
        now: datetime,
        *,
        limit: int,
        without_projects: Collection[str] = (),
    ) -> tuple[WaitingRun, ...]: ...


class SeenLine:
    """A ``Line`` as it stood when it was looked at; no transaction is open meanwhile."""

    def __init__(self, store: RunStore, now: datetime) -> None:
        self._store = store
        with store.begin_dispatch(read_only=True) as dispatch:
            self._heads = dispatch.heads(now)
            self._holders = dispatch.holders()
            self._served = dispatch.served()

    def holders(self) -> tuple[SlotHolder, ...]:
        return self._holders

    def heads(self, now: datetime) -> tuple[WaitingRun, ...]:
        del now
        return self._heads

    def served(self) -> Mapping[str, float]:
        return self._served

    def queue_of(
        self,
        tenant_id: str,
        now: datetime,
        *,
        limit: int,
        without_projects: Collection[str] = (),
    ) -> tuple[WaitingRun, ...]:
        with self._store.begin_dispatch(read_only=True) as dispatch:
            return dispatch.queue_of(tenant_id, now, limit=limit, without_projects=without_projects)


class AskedLimits:
    """Limits that were asked for outside of transactions, to be known inside of them."""

    def __init__(self, limits_of: LimitsOf) -> None:
        self.missed = False
        self._limits_of = limits_of
        self._known: dict[str, Limits | None] = {}

    def ask(self, tenant_id: str) -> Limits:
        """As a ``LimitsOf``; the answer stays known."""
        self.missed = False
        if tenant_id not in self._known:
            try:
                self._known[tenant_id] = self._limits_of(tenant_id)
            except PolicyUnavailableError:
                self._known[tenant_id] = None
        return self.recall(tenant_id)

    def recall(self, tenant_id: str) -> Limits:
        """As a ``LimitsOf``, without asking: ``missed`` tells of a tenant that was not asked of."""
        self.missed = self.missed or tenant_id not in self._known
        limits = self._known.get(tenant_id)
        if limits is None:
            raise PolicyUnavailableError(f"the limits of {tenant_id} cannot be read now")
        return limits


def turns(line: Line, now: datetime, limits_of: LimitsOf) -> Iterator[WaitingRun]:
    """The runs that want a slot in the order in which they get one, while no slot comes free.

    Nothing is written. Those whose tenant or project is at its limit are left out. Only as much of
    the queue is read as the caller takes.
    """
    lanes = {head.tenant_id: _Lane(line, now, head) for head in line.heads(now)}
    taken = Counter((holder.tenant_id, holder.project_id) for holder in line.holders())
    served = line.served()
    present = served.get(EVERYBODY, 0.0)
    order = [
        (max(served.get(tenant_id, 0.0), present), lane.head.age, lane.head.run_id, tenant_id)
        for tenant_id, lane in lanes.items()
    ]
    heapify(order)
    while order:
        start, _, _, tenant_id = heappop(order)
        lane = lanes[tenant_id]
        limits = limits_or_none(limits_of, tenant_id)
        if limits is None or (run := lane.take(limits, taken)) is None:
            continue
        yield run
        taken[run.tenant_id, run.project_id] += 1
        if (head := lane.look()) is not None:
            heappush(order, (start + price(limits), head.age, head.run_id, tenant_id))


class _Lane:
    """One tenant's runs, read as far as they are needed."""

    def __init__(self, line: Line, now: datetime, head: WaitingRun) -> None:
        self.head = head
        self._line = line
        self._now = now
        self._ready = [head]
        self._seen = {head.run_id}
        self._passed_over: WaitingRun | None = None
        self._read = 1

    def take(self, limits: Limits, taken: Counter[tuple[str, str]]) -> WaitingRun | None:
        """The next run that may have a slot; None where none may."""
        tenant_id = self.head.tenant_id
        running = sum(count for (tenant, _), count in taken.items() if tenant == tenant_id)
        if limits.running_runs is not None and running >= limits.running_runs:
            return None
        full = full_projects(limits, taken, tenant_id)
        while self._ready or self._read_on(full):
            run = self._ready.pop(0)
            if run.project_id not in full:
                return run
            self._passed_over = self._passed_over or run
        return None

    def look(self) -> WaitingRun | None:
        """The first one that is left, whether it may have a slot or not."""
        if self._passed_over is not None or self._ready or self._read_on(set()):
            return self._passed_over or self._ready[0]
        return None

    def _read_on(self, full: set[str]) -> bool:
        """Read further; False at the end."""
        self._read = max(_FIRST_LOOK, 4 * self._read)
        found = self._line.queue_of(
            self.head.tenant_id, self._now, limit=self._read, without_projects=full
        )
        self._ready = [run for run in found if run.run_id not in self._seen]
        self._seen.update(run.run_id for run in self._ready)
        return bool(self._ready)
