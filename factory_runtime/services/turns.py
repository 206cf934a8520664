"""Whose turn it is to get a slot: fair between tenants, by priority and age within each.

Start-time fair queuing. Virtual time goes on with each admission. A tenant stands where the slots
it got have brought it: each slot moves it on by one over its weight, and who stands the furthest
back is next. Who had nothing to ask for is brought up to the present: idling saves nothing up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush

from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.policy import Limits
from factory_runtime.ports import EVERYBODY, DispatchTransaction, WaitingRun

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


def turns(
    dispatch: DispatchTransaction, now: datetime, limits_of: LimitsOf
) -> Iterator[WaitingRun]:
    """The runs that want a slot in the order in which they get one, while no slot comes free.

    Nothing is written. Those whose tenant or project is at its limit are left out. Only as much of
    the queue is read as the caller takes.
    """
    lanes = {head.tenant_id: _Lane(dispatch, now, head) for head in dispatch.heads(now)}
    taken = Counter(dispatch.admitted())
    served = dispatch.served()
    present = served.get(EVERYBODY, 0.0)
    line = [
        (max(served.get(tenant_id, 0.0), present), lane.head.age, lane.head.run_id, tenant_id)
        for tenant_id, lane in lanes.items()
    ]
    heapify(line)
    while line:
        start, _, _, tenant_id = heappop(line)
        lane = lanes[tenant_id]
        limits = limits_or_none(limits_of, tenant_id)
        if limits is None or (run := lane.take(limits, taken)) is None:
            continue
        yield run
        taken[run.tenant_id, run.project_id] += 1
        if (head := lane.look()) is not None:
            heappush(line, (start + price(limits), head.age, head.run_id, tenant_id))


class _Lane:
    """One tenant's runs, read as far as they are needed."""

    def __init__(self, dispatch: DispatchTransaction, now: datetime, head: WaitingRun) -> None:
        self.head = head
        self._dispatch = dispatch
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
        found = self._dispatch.queue_of(
            self.head.tenant_id, self._now, limit=self._read, without_projects=full
        )
        self._ready = [run for run in found if run.run_id not in self._seen]
        self._seen.update(run.run_id for run in self._ready)
        return bool(self._ready)
