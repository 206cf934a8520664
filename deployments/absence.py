"""That Prefect is away, as one loop meets it."""

from __future__ import annotations

import logging
import time

from factory_runtime.domain.errors import PrefectUnavailableError

_LOG = logging.getLogger("factory.dispatcher")

FIRST_WAIT = 1.0
"""Seconds until Prefect is asked again; each further time doubles them."""

LONGEST_WAIT = 10.0
"""Seconds, and no more: when it is back, runs wait for as long."""

_ANOTHER_AFTER = 60.0
"""Seconds without a word of it, after which it is another absence."""


class Absence:
    """Told of once, and asked after a growing while."""

    def __init__(self) -> None:
        self._wait = self._noted = 0.0

    def note(self, what: str, error: PrefectUnavailableError) -> float:
        """It did not answer, for which reason ``what`` is so; seconds until it is asked again."""
        now = time.monotonic()
        if now - self._noted > _ANOTHER_AFTER:  # nobody asked since, or nobody said that it is over
            self._wait = 0.0
        self._noted = now
        if not self._wait:
            _LOG.warning("%s, asking on: %s", what, error)
        self._wait = min(max(2 * self._wait, FIRST_WAIT), LONGEST_WAIT)
        return self._wait

    def over(self) -> None:
        """It answers: the next time is a new one."""
        self._wait = 0.0
