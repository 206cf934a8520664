"""What commands ask and have done of how long artifacts are kept."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.hold import Hold, HoldScope


class Keeping(Protocol):
    """When artifacts expire, and what is held. Errors are those of the services."""

    def set_expiry(
        self, artifact_id: str, expires_at: datetime | None, *, once_downloaded: bool
    ) -> Artifact: ...

    def list_holds(self, *, released: bool, limit: int) -> tuple[Hold, ...]:
        """The oldest first."""
        ...

    def hold(self, scope: HoldScope, subject_id: str, reason: str) -> Hold: ...

    def release(self, hold_id: str) -> Hold: ...
