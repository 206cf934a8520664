"""How long artifacts are kept, in the stores that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cli.person import person
from factory_runtime.services import keep_artifacts

if TYPE_CHECKING:
    from factory_runtime.bootstrap import Runtime
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.hold import Hold, HoldScope


@dataclass(frozen=True)
class LocalKeeping:
    """That of one tenant's."""

    runtime: Runtime
    tenant: str

    def set_expiry(
        self, artifact_id: str, expires_at: datetime | None, *, once_downloaded: bool
    ) -> Artifact:
        with self.runtime.store.begin(self.tenant) as tx:
            return keep_artifacts.set_expiry(
                tx,
                artifact_id,
                person(),
                self.runtime.clock.now(),
                expires_at,
                once_downloaded=once_downloaded,
            )

    def list_holds(self, *, released: bool, limit: int) -> tuple[Hold, ...]:
        with self.runtime.store.begin(self.tenant, read_only=True) as tx:
            return tx.list_holds(standing=not released, limit=limit)

    def hold(self, scope: HoldScope, subject_id: str, reason: str) -> Hold:
        now = self.runtime.clock.now()
        with self.runtime.store.begin(self.tenant) as tx:
            return keep_artifacts.add_hold(tx, scope, subject_id, reason, person(), now)

    def release(self, hold_id: str) -> Hold:
        with self.runtime.store.begin(self.tenant) as tx:
            return keep_artifacts.release_hold(tx, hold_id, person(), self.runtime.clock.now())
