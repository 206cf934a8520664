"""What a tenant's memory holds, what its index takes, and how far the index lags behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Kind, Reuse
from factory_runtime.ports import Clock, IndexSize, RunStore
from factory_runtime.services.memory_models import Models
from factory_runtime.services.migrate_memory import Migrator, ModelProgress


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """A tenant's memory at one moment.

    Attributes:
        memories: by kind.
        unindexed: of them, those that the index does not have as they are now.
        lag: how long the oldest of these has waited.
        models: with how far each is.
        index: of the model that searches use; None where it cannot be read.
        commits: to it since it was put in order last.
        problem: why the index cannot be read.
        reuse: what came of what was shown.
    """

    memories: Mapping[Kind, int]
    unindexed: int
    lag: timedelta
    models: tuple[ModelProgress, ...]
    index: IndexSize | None
    commits: int
    problem: str | None
    reuse: Reuse


def memory_stats(
    store: RunStore, clock: Clock, models: Models, migrator: Migrator, tenant_id: str
) -> MemoryStats:
    """Look at all of it; an index that cannot be read is told of."""
    with store.begin(tenant_id, read_only=True) as tx:
        memories, line, reuse = tx.count_memories(), tx.unindexed_line(), tx.count_reuse()
    index, commits, problem = None, 0, None
    try:
        opened = models.of(tenant_id).index
        index, commits = opened.size(tenant_id), opened.commits(tenant_id)
    except MemoryUnavailableError as error:
        problem = str(error)
    return MemoryStats(
        memories,
        line.length if line else 0,
        max(timedelta(0), clock.now() - line.since) if line else timedelta(0),
        migrator.progress(tenant_id),
        index,
        commits,
        problem,
        reuse,
    )
