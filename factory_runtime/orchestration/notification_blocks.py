"""Addresses of notification targets, as Prefect's blocks keep them."""

from __future__ import annotations

from factory_runtime.orchestration.kept_blocks import read_block

_SLUG = "factory-notification-target"
"""Of the block type ``blocks.NotificationTarget``."""


class NotificationBlocks:
    """Implements ports.AddressBook. Asked each time: what was changed there counts at once."""

    def address_of(self, name: str) -> str:
        """The address in the notification target of this name.

        Raises:
            HostBusyError: no Prefect server answers, or this process knows none.
            InputError: there is none of this name.
        """
        return str(read_block(_SLUG, name)["data"].get("url") or "")
