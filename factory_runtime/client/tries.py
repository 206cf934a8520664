"""Whether a call is sent again, and when."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from factory_runtime.client.call import Call
from factory_runtime.domain.errors import FactoryError, TransientError

_FIRST_WAIT = timedelta(seconds=0.2)
_LONGEST_WAIT = timedelta(seconds=30)


class Tries:
    """How long to wait for the next try of a call, as long as there is one."""

    def __init__(self, call: Call[Any], patience: timedelta) -> None:
        self._is_repeatable = call.is_repeatable
        self._patience = patience
        self.begin_anew()

    def begin_anew(self) -> None:
        """The server has said something: what goes wrong from now on goes wrong for the first time."""
        self._until = time.monotonic() + self._patience.total_seconds()
        self._pause = _FIRST_WAIT

    def wait(self, error: FactoryError) -> float:
        """Seconds.

        Raises:
            FactoryError: the error, where there is no other try.
        """
        if not isinstance(error, TransientError) or not self._is_repeatable:
            raise error
        pause = min(max(error.retry_after or self._pause, self._pause), _LONGEST_WAIT)
        if time.monotonic() + pause.total_seconds() > self._until:
            raise error
        self._pause *= 2
        return pause.total_seconds()
