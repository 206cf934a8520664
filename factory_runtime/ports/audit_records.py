"""What the store keeps of who did what, and the chain over it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from factory_runtime.domain.audit import AuditFilter, AuditSeal
from factory_runtime.domain.records import AuditEntry


class AuditRecords(Protocol):
    """Part of ``RunTransaction``. Neither entries nor seals are ever changed or removed."""

    def add_audit(self, entries: Iterable[AuditEntry]) -> None:
        """Insert them; each waits for its seal from then on."""
        ...

    def list_audit(
        self,
        where: AuditFilter | None = None,
        *,
        subject: str | None = None,
        limit: int = 200,
        before: AuditEntry | None = None,
    ) -> tuple[AuditEntry, ...]:
        """Newest first; those that stand behind ``before`` in this order, where it is given."""
        ...

    def find_audit(self, entry_ids: Collection[str]) -> tuple[AuditEntry, ...]:
        """Those of them that are there."""
        ...

    def unsealed_audit(self, limit: int) -> tuple[AuditEntry, ...]:
        """Entries that wait for their seal, the oldest id first."""
        ...

    def count_unsealed(self) -> int: ...

    def stray_audit(self, limit: int) -> tuple[AuditEntry, ...]:
        """Entries that neither have a seal nor wait for one: somebody went round the store.

        It looks at every entry.
        """
        ...

    def lost_audit(self, limit: int) -> tuple[str, ...]:
        """Ids of entries that wait for their seal and are gone: likewise."""
        ...

    def last_seal(self) -> AuditSeal | None: ...

    def list_seals(self, *, after: int, limit: int) -> tuple[AuditSeal, ...]:
        """Those with a greater number, in the order of their numbers."""
        ...

    def add_seals(self, seals: Sequence[AuditSeal]) -> None:
        """Insert them; their entries wait no longer.

        Raises:
            StaleVersionError: one of these numbers is taken, or an entry is sealed already.
        """
        ...
