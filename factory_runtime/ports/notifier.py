"""Notifiers: how people are told."""

from __future__ import annotations

from typing import Protocol

from factory_runtime.domain.notice import Notice


class Notifier(Protocol):
    """Sends a notice to an address, like ``json://host/path`` or ``mailto://…``."""

    def send(self, to: str, notice: Notice) -> None:
        """Send it, within a bounded time. Sent again after a kill: receivers tell by its key.

        Raises:
            HostBusyError: it was not taken, or nobody answered in time; try later.
            InputError: the address makes no sense.
        """
        ...
