"""A memory that is searched by tests of what runs are shown, and what they are shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from factory_runtime.domain.memory import ForgetScope, Forgotten, Kind, Memory, Recalled
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run
from factory_runtime.ports import JobContext, RecallQuery, RunStore
from tests.builders import TENANT, a_memory
from tests.small_factory import SmallFactory


class Shelf:
    """A memory whose search gives all that the tenant has there, in the order of ids."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.asked: list[RecallQuery] = []
        self.shared: tuple[Recalled, ...] = ()

    def recall(self, tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        self.asked.append(query)
        with self.store.begin(tenant_id, read_only=True) as tx:
            found = [one for one in tx.list_memories() if one.kind in (query.kinds or Kind)]
        scored = [Recalled(one, 1 - rank / 10) for rank, one in enumerate(found)]
        return (*scored, *self.shared)[: query.limit]


on_both = pytest.mark.parametrize("factory", ["memory", "sqlite"], indirect=True)


def memory(id_: str, **values: Any) -> Memory:
    return a_memory(**{"id": id_, "project_id": "shop", **values})


def keep(factory: SmallFactory, *memories: Memory) -> None:
    with factory.store.begin(memories[0].tenant_id) as tx:
        tx.save_memories(memories)


def lose(factory: SmallFactory, *ids: str) -> None:
    """As a pattern is lost that no longer holds."""
    with factory.store.begin(TENANT) as tx:
        tx.delete_memories(ids)


def forget(factory: SmallFactory, *ids: str) -> None:
    """As the run is forgotten that taught them."""
    lose(factory, *ids)
    with factory.store.begin(TENANT) as tx:
        tx.add_forgotten(Forgotten(TENANT, ForgetScope.RUN, "run-other", factory.clock.at))


def uses(factory: SmallFactory, run: Run) -> list[tuple[str, str, int, bool]]:
    """Step, memory, rank and whether it was used."""
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        found = tx.list_uses(run_id=run.id)
    return [(one.step, one.memory_id, one.rank, one.used_at is not None) for one in found]


def recalls(*used: str, query: str = "orders", **how: Any) -> Any:
    def behaviour(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        found = context.recall(query, **how)
        return JobResult({"ids": [one.memory.id for one in found]}, used=used)

    return behaviour
