"""One repair after the other: what cannot be repaired does not keep others from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from factory_runtime.domain.errors import PermanentError, TransientError

K = TypeVar("K")

_LOG = logging.getLogger("factory.sweep")


def each(keys: Iterable[K], repair: Callable[[K], int]) -> int:
    """How much was repaired; one that cannot be does not keep the others from it.

    The next sweep comes back to it. Where two in a row say that they will be possible later, the
    store is away for all of them.
    """
    repaired, is_away = 0, False
    for key in keys:
        try:
            repaired += repair(key)
            is_away = False
        except PermanentError:
            _LOG.exception("%s cannot be swept", key)
        except TransientError as error:
            if is_away:
                raise
            is_away = True
            _LOG.warning("%s is swept later: %s", key, error)
    return repaired
