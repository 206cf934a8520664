"""Credentials: what a job shows to a service outside, kept by somebody who keeps secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from factory_runtime.domain.errors import InputError


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a block holds. It prints as its name: its fields are for the service alone.

    Attributes:
        name: of the block.
        fields: its fields, secrets in the open.
        secrets: those texts of the fields that nobody else may see.
        tenants: whose runs may use it; ``*`` is everybody's.
    """

    name: str
    fields: Mapping[str, Any]
    secrets: frozenset[str]
    tenants: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Credentials({self.name!r})"


class CredentialBook(Protocol):
    """Keeps credentials."""

    def credentials_of(self, kind: str, name: str) -> Credentials:
        """Those of this name, as they stand now. Asked for in the process that uses them.

        Args:
            kind: a block type, like ``factory-git-host``.
            name: of the block.

        Raises:
            HostBusyError: nobody answers now; try later.
            InputError: there are none of this kind and name.
        """
        ...


class NoCredentials:
    """Implements CredentialBook: for who has no Prefect server."""

    def credentials_of(self, kind: str, name: str) -> Credentials:
        """There are none.

        Raises:
            InputError: always.
        """
        raise InputError(f"nobody keeps {kind} {name} for this process")
