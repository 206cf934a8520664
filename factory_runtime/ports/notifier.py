"""Notifiers: how people are told, and who keeps their addresses."""

from __future__ import annotations

from typing import Protocol

from factory_runtime.domain.notice import Notice


class AddressBook(Protocol):
    """Keeps addresses that are secrets."""

    def address_of(self, name: str) -> str:
        """The address as it stands now. It may hold a secret: it is for sending, and nothing else.

        Raises:
            HostBusyError: nobody answers now; try later.
            InputError: there is none of this name.
        """
        ...


class Notifier(Protocol):
    """Sends a notice to an address, like ``json://host/path``, ``mailto://…`` or ``block:NAME``."""

    def send(self, to: str, notice: Notice) -> None:
        """Send it, within a bounded time. Sent again after a kill: receivers tell by its key.

        Raises:
            HostBusyError: it was not taken, or nobody answered in time; try later.
            InputError: the address makes no sense.
        """
        ...
