"""A route: which queue of Prefect's the jobs of a type are sent to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from factory_runtime.domain.errors import InputError

_NAME = r"[^/:%&<>\s\x00-\x1f\x7f]{1,90}"
_ROUTE = re.compile(f"({_NAME})/({_NAME})")


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A work pool and a queue in it; spelt ``pool/queue``."""

    pool: str
    queue: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.queue}"


def parse_route(text: str) -> Route:
    """Read ``pool/queue``.

    Raises:
        InputError: it is none that Prefect could have.
    """
    found = _ROUTE.fullmatch(text)
    if found is None:
        raise InputError(
            f"{text[:100]!r} is no route", hint="write pool/queue, like docs-pool/docs"
        )
    return Route(found[1], found[2])
