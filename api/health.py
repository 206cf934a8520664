"""Looks at the parts of the factory, in threads that no request waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from factory_runtime.domain.health import FACTORY_API, GOOD, RUN_STORE, SILENT, Finding, Health
from factory_runtime.services.health import PATIENCE, FactoryHealth
from factory_runtime.services.look import Look


async def look_at_all(health: FactoryHealth) -> dict[str, Finding]:
    """Every part, at once; this one answers."""
    return {FACTORY_API: GOOD, **await _look_at(health.looks)}


async def is_store_there(health: FactoryHealth) -> bool:
    """Whether the run store answers."""
    found = await _look_at({RUN_STORE: health.looks[RUN_STORE]})
    return found[RUN_STORE].health is not Health.UNHEALTHY


async def _look_at(looks: Mapping[str, Look[Finding]]) -> dict[str, Finding]:
    begun = {name: asyncio.wrap_future(look.begin()) for name, look in looks.items()}
    await asyncio.wait(begun.values(), timeout=PATIENCE.total_seconds())
    return {name: one.result() if one.done() else SILENT for name, one in begun.items()}
