"""What goes wrong, as a test says: in which route, at which request, and how.

The headers of throttling are those of
https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Cut(StrEnum):
    """When the connection is dropped: what was asked for is done from AFTER on."""

    BEFORE = "before"
    AFTER = "after"
    AMID = "amid"  # the answer


@dataclass(frozen=True)
class Fault:
    """What happens to some requests.

    Attributes:
        route: names of routes, as a pattern like ``builds.*``.
        skips: how many requests pass before it begins.
        times: how many requests it then befalls.
        status: answered instead of doing what was asked for.
        headers: of that answer, or added to the good one.
        seconds: to wait before anything else is done.
    """

    route: str
    skips: int = 0
    times: int = 1
    cut: Cut | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    seconds: float = 0


@dataclass
class Faults:
    """Those that are still to come."""

    pending: list[Fault] = field(default_factory=list[Fault])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        with self.lock:
            self.pending.append(fault)

    def take(self, route: str) -> Fault | None:
        """The first that befalls this request; all that match have seen it go by."""
        taken: Fault | None = None
        with self.lock:
            left: list[Fault] = []
            for fault in self.pending:
                if not fnmatchcase(route, fault.route):
                    left.append(fault)
                elif fault.skips:
                    left.append(replace(fault, skips=fault.skips - 1))
                elif taken is not None:
                    left.append(fault)
                else:
                    taken = fault
                    left += [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            self.pending = left
        return taken


def throttled(seconds: int) -> dict[str, str]:
    """What the service says of who asks too much, on good answers as on 429."""
    return {
        "Retry-After": str(seconds),
        "X-RateLimit-Resource": "Core",
        "X-RateLimit-Delay": str(seconds),
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + seconds),
    }


BLOCKED = (
    "TF400733: The request has been canceled: Request was blocked due to exceeding usage of "
    "resource 'Core' in namespace 'User'."
)
