"""How a part of the factory is, and what follows for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a part is, or the whole."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at a part found; ``about`` is why it is so, for operators."""

    health: Health
    about: str | None = None


GOOD = Finding(Health.HEALTHY)
SILENT = Finding(Health.UNHEALTHY, "it does not answer in time")

RUN_STORE = "runStore"
FACTORY_API = "factoryApi"


def overall(found: Mapping[str, Finding]) -> Health:
    """Of the whole: nothing goes without the record; without any other part, something does."""
    if found[RUN_STORE].health is Health.UNHEALTHY:
        return Health.UNHEALTHY
    whole = all(one.health is Health.HEALTHY for one in found.values())
    return Health.HEALTHY if whole else Health.DEGRADED
