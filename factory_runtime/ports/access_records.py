"""What the store keeps of who may come in."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from factory_runtime.domain.api_key import ApiKey


class AccessRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    def add_api_key(self, key: ApiKey) -> None:
        """Insert.

        Raises:
            ConflictError: its prefix is taken, or another one replaces the same key.
        """
        ...

    def get_api_key(self, key_id: str) -> ApiKey:
        """Raises ApiKeyNotFoundError."""
        ...

    def lock_api_key(self, key_id: str) -> ApiKey:
        """The key, with its row locked until the end of the transaction."""
        ...

    def save_api_key(self, key: ApiKey) -> None:
        """Replace one that is locked; when it was used last stays as it is."""
        ...

    def touch_api_key(self, key_id: str, at: datetime, *, unless_since: datetime) -> bool:
        """Write down that it was used; False where it was after then, or is not there."""
        ...

    def find_replacement(self, key_id: str) -> ApiKey | None:
        """The key that this one was rotated to."""
        ...

    def list_api_keys(
        self,
        *,
        good_at: datetime | None = None,
        name: str | None = None,
        limit: int = 200,
        before_id: str | None = None,
    ) -> tuple[ApiKey, ...]:
        """The newest first; ``before_id`` continues behind the last one of a page.

        Args:
            good_at: of those that are good then alone.
            name: of those who come with this name alone.
            limit: at most so many.
            before_id: of a key.
        """
        ...
