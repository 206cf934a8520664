"""Addresses of notification targets, as Prefect's blocks keep them: encrypted, and shown to nobody."""

from __future__ import annotations

from factory_runtime.domain.errors import FactoryError, HostBusyError, InputError

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
        # Imported here: it takes two seconds, and few processes send to such a target.
        from prefect.settings import get_current_settings

        from factory_runtime.orchestration.prefect_api import GoneError, ask

        if get_current_settings().api.url is None:  # or else the client would start a server
            raise HostBusyError("this process knows no Prefect server")
        try:
            found = ask(
                "GET",
                "/block_types/slug/{slug}/block_documents/name/{block_document_name}",
                query={"include_secrets": True},
                slug=_SLUG,
                block_document_name=name,
            )
        except GoneError as exc:
            raise InputError(
                f"Prefect has no notification target {name}",
                hint="`prefect block register -m blocks` adds their form to its UI",
            ) from exc
        except FactoryError as exc:
            raise HostBusyError(str(exc), hint=exc.hint) from exc
        return str(found["data"].get("url") or "")
