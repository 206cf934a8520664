"""Send notices beside everything else: each target on its own, so that none waits for another."""

from __future__ import annotations

from datetime import timedelta

from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.lanes import Lanes
from factory_runtime.services.tell import Teller, target_of
from factory_runtime.services.topics import NOTICE, SEND_NOTICE


class NoticeSender:
    """Drains the notices: one message for each target, and then the targets beside each other."""

    def __init__(self, store: RunStore, clock: Clock, teller: Teller, holder: str) -> None:
        self._store = store
        self._clock = clock
        self._teller = teller
        self._holder = holder
        self._targets = Lanes(store, clock, SEND_NOTICE, target_of, teller.send, holder)

    def send_due(self, patience: timedelta = timedelta(0)) -> Drained:
        """Begin to send all that is due, and wait so long for it; what came of it by then.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        fanned = drain_outbox(
            self._store, self._clock, {NOTICE: self._teller.fan_out}, self._holder
        )
        sent = self._targets.send_due(patience)
        return Drained(fanned.done + sent.done, fanned.failed + sent.failed)

    def close(self) -> None:
        """Begin nothing more. What is under way ends by itself."""
        self._targets.close()
