"""How long artifacts are kept, by a Factory API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cli.desk import from_wire
from cli.desk.remote_reading import some
from factory_runtime.client import FactoryClient, calls
from factory_runtime.wire.keeping import NewExpiry, NewHold

if TYPE_CHECKING:
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.hold import Hold, HoldScope


@dataclass(frozen=True)
class RemoteKeeping:
    """That of the tenant's that the credential is of."""

    client: FactoryClient
    tenant: str

    def set_expiry(
        self, artifact_id: str, expires_at: datetime | None, *, once_downloaded: bool
    ) -> Artifact:
        wanted = NewExpiry(expires_at=expires_at, once_downloaded=once_downloaded)
        told = self.client.send(calls.set_expiry(artifact_id, wanted))
        return from_wire.artifact_of(told, self.tenant)

    def list_holds(self, *, released: bool, limit: int) -> tuple[Hold, ...]:
        found, _ = some(self.client, calls.list_holds(released=released), limit)
        return tuple(from_wire.hold_of(one, self.tenant) for one in found)

    def hold(self, scope: HoldScope, subject_id: str, reason: str) -> Hold:
        asked = NewHold(scope=scope, subject_id=subject_id, reason=reason)
        return from_wire.hold_of(self.client.send(calls.add_hold(asked)), self.tenant)

    def release(self, hold_id: str) -> Hold:
        return from_wire.hold_of(self.client.send(calls.release_hold(hold_id)), self.tenant)
