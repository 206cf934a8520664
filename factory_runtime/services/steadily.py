"""Write to the store although it is away for a while: what was done is not to be lost for that."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from factory_runtime.domain.errors import StoreUnavailableError

T = TypeVar("T")

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0


def steadily(write: Callable[[bool], T], patience: timedelta) -> T:
    """The transaction's answer, tried again while the store is unavailable.

    Args:
        write: one whole transaction. It is told whether it was tried before: then it may have been
            committed and only its answer lost, so it has to look first.
        patience: how long from the first failure. Whoever holds a lease loses it after that time.

    Raises:
        StoreUnavailableError: the store stayed away for longer.
    """
    wait, until = _FIRST_WAIT, None
    while True:
        try:
            return write(until is not None)
        except StoreUnavailableError:
            now = time.monotonic()
            until = until or now + patience.total_seconds()
            if now + wait > until:
                raise
        time.sleep(wait * (0.5 + random.random()))  # noqa: S311 - spreads load
        wait = min(2 * wait, _LONGEST_WAIT)
