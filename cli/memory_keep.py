"""`factory memory stats` and `rebuild`: how the memory's index is, and how to make it anew."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.as_json import print_json
from cli.door import StoreDoor, open_stores
from cli.options import Json, Tenant
from cli.text import duration

if TYPE_CHECKING:
    from factory_runtime.services.memory_stats import MemoryStats
    from factory_runtime.services.migrate_memory import ModelProgress
    from factory_runtime.services.rebuild_memory import Progress, Rebuilt

_PATIENCE = timedelta(minutes=5)
_MIB = 1024 * 1024


def stats(tenant: Tenant = None, json: Json = False) -> None:
    """Show what the memory holds, what its index takes, and how far that lags behind."""
    from factory_runtime.services.memory_stats import memory_stats

    door = open_stores(tenant=tenant, json=json)
    runtime = door.runtime
    found = memory_stats(
        runtime.store, runtime.clock, runtime.models, runtime.migrator, door.tenant
    )
    if json:
        print_json(found)
        return
    door.screen.facts(_facts(found))
    if complaint := runtime.memory_disk.complaint():
        door.screen.line(complaint, "warn")


def rebuild(
    every: Annotated[bool, typer.Option("--all", help="Of every tenant.")] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Make the index anew from the record. Nothing is embedded that has a vector."""
    door = open_stores(tenant=tenant, json=json)
    rebuilder = door.runtime.rebuilder
    tenants = rebuilder.tenants() if every else (door.tenant,)
    rebuilt: list[Rebuilt] = []
    for one in tenants:
        rebuilt.append(rebuilder.rebuild(one, _teller(door, one), _PATIENCE))
        if not json:
            last = rebuilt[-1]
            words = f"{one}: {last.memories} memories in the index"
            door.screen.line(f"{words}, {last.embedded} of them embedded anew")
    if json:
        print_json({"rebuilt": rebuilt})


def _teller(door: StoreDoor, tenant_id: str) -> Progress:
    def tell(model: str, done: int, total: int) -> None:
        if not door.json:
            door.screen.line(f"{tenant_id}: {done} of {total} rows of {model}", "dim")
            door.screen.flush()

    return tell


def _facts(found: MemoryStats) -> Iterable[tuple[str, str]]:
    kinds = ", ".join(f"{kind.value} {count}" for kind, count in found.memories.items())
    yield "memories", f"{sum(found.memories.values())}: {kinds}" if kinds else "none"
    lag = f", the oldest for {duration(found.lag)}" if found.unindexed else ""
    yield "not indexed", f"{found.unindexed}{lag}"
    for model in found.models:
        yield "model", model_words(model)
    if found.index is None:
        yield "index", f"cannot be read: {found.problem}"
    else:
        rows = ", ".join(f"{one.value} {count}" for one, count in found.index.rows.items())
        yield "rows", rows
        if found.index.files is not None and found.index.bytes_used is not None:
            size = f"{found.index.bytes_used / _MIB:.1f} MiB in {found.index.files} files"
            yield "takes", f"{size}, {found.index.versions} versions"
        yield "commits", f"{found.commits} since it was put in order"
    reuse = found.reuse
    yield "shown to", f"{reuse.shown} runs; {reuse.used} used one, {reuse.succeeded} succeeded"


def model_words(at: ModelProgress) -> str:
    """Like ``all-MiniLM-L6-v2/1, active: 120 of 120``."""
    return f"{at.model.model} ({at.model.embedder}), {at.model.status}: {at.done} of {at.total}"
