"""What runs leave: artifacts, effects, messages; and what they share: templates, requests, locks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.records import (
    Breaker,
    Effect,
    EffectStatus,
    OutboxMessage,
    RequestRecord,
    TemplateRecord,
)


class LedgerRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    # artifacts
    def add_artifacts(self, artifacts: Iterable[Artifact]) -> None:
        """Insert; one of the same run, step, kind and name is replaced, its id and creation kept."""
        ...

    def get_artifact(self, artifact_id: str) -> Artifact: ...

    def list_artifacts(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ArtifactKind | None = None,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Artifact | None = None,
    ) -> tuple[Artifact, ...]:
        """Newest first; oldest first within one run. ``after`` continues behind one of a page."""
        ...

    def find_last_artifact(self, project_id: str, kind: ArtifactKind, name: str) -> Artifact | None:
        """The newest of this kind and name that a run of the project left, and has its body yet."""
        ...

    def touch_artifact(self, artifact_id: str, accessed_at: datetime) -> None: ...

    # the effect ledger
    def intend_effect(self, effect: Effect) -> Effect:
        """Write it down before it is done; if it stands already, give what stands."""
        ...

    def intend_elsewhere(self, before: Effect, after: Effect) -> None:
        """An effect that is only intended is to be done at another place; once more is a no-op.

        Raises:
            ConflictError: it does not stand as ``before``, or is more than intended.
        """
        ...

    def confirm_effect(
        self, effect_key: str, kind: str, reference: str, at: datetime, *, link: str | None = None
    ) -> None: ...

    def list_effects(
        self,
        *,
        run_id: str | None = None,
        step: str | None = None,
        status: EffectStatus | None = None,
        projects: Collection[str] | None = None,
        limit: int = 1000,
        after: Effect | None = None,
    ) -> tuple[Effect, ...]:
        """Oldest first; ``after`` continues behind the last one of a page.

        ``projects`` are those of the runs.
        """
        ...

    # outbox
    def add_message(self, message: OutboxMessage) -> None:
        """Insert; a message of the same topic and key is the same message."""
        ...

    def find_message(self, message_id: str) -> OutboxMessage | None: ...

    def save_message(self, message: OutboxMessage) -> None: ...

    # templates and requests
    def register_template(self, template: TemplateRecord) -> bool:
        """Insert; True if it is new.

        Raises:
            TemplateChangedError: same id and version, other digest.
        """
        ...

    def list_templates(self) -> tuple[TemplateRecord, ...]: ...

    def find_request(self, idempotency_key: str) -> RequestRecord | None: ...

    def add_request(self, request: RequestRecord) -> None:
        """Insert.

        Raises:
            StaleVersionError: somebody else inserted the key first; read it and compare. It is told
                at the end of the transaction at the latest, which is given up then.
        """
        ...

    # breakers
    def find_breaker(self, host: str) -> Breaker | None: ...

    def lock_breaker(self, host: str) -> Breaker | None:
        """The breaker, with its row locked until the end of the transaction."""
        ...

    def save_breaker(self, breaker: Breaker) -> None: ...

    # locks
    def try_lock(self, name: str, holder: str, now: datetime, expires_at: datetime) -> bool:
        """Take or renew a named lock; False while another holder's has not expired."""
        ...

    def renew_lock(self, name: str, holder: str, expires_at: datetime) -> bool:
        """Renew a lock that is held; False where it is another's by now, or nobody's."""
        ...

    def unlock(self, name: str, holder: str) -> None: ...

    def find_lock_holder(self, name: str, now: datetime) -> str | None: ...
