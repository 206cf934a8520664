"""Open a git host elsewhere, as a block of Prefect's describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.secrets import Secrets
from factory_runtime.ports import CredentialBook, GitHost
from factory_runtime.services.credentials import lend
from factory_runtime.services.hide_in_logs import hide_in_logs

KIND = "factory-git-host"
"""The type of the block."""


@dataclass(frozen=True, slots=True)
class OpenedHost:
    """A host, and what no log may say for as long as it is held."""

    host: GitHost
    secrets: Secrets


def open_host(book: CredentialBook, tenant_id: str, choice: str, mirrors: Path) -> OpenedHost:
    """The host of a block, for one tenant.

    Args:
        book: keeps the blocks.
        tenant_id: whose.
        choice: ``block:NAME``.
        mirrors: a folder for copies of its repositories.

    Raises:
        HostBusyError: nobody says what the block holds.
        InputError: there is none that the tenant may use, or it is of a service that we cannot
            speak with, or says something that cannot be.
    """
    found = lend(book, KIND, choice, tenant_id)
    secrets = Secrets()
    secrets.add(found.secrets)
    hide_in_logs(secrets)
    match found.fields.get("kind"):
        case "azure-devops":
            from factory_runtime.hosts.azure_devops import open_azure_devops

            is_shared = found.tenants != frozenset({tenant_id})
            host = open_azure_devops(
                found.fields, mirrors / tenant_id, secrets, is_shared=is_shared
            )
            return OpenedHost(host, secrets)
        case kind:
            raise InputError(
                f"{KIND} {found.name}: repositories cannot be made on {kind} yet",
                hint="use a host of the kind azure-devops, or local",
            )
