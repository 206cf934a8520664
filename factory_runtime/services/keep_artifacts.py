"""How long an artifact is kept: until it expires, and as long as a hold stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.errors import ArtifactNotFoundError, InputError
from factory_runtime.domain.hold import Hold, HoldScope
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import RunTransaction
from factory_runtime.services.audit import leave_audit

AGAIN = timedelta(hours=1)
"""How long what expires once downloaded may be got once more: what arrived may have been lost."""

_PAGE = 500


def set_expiry(
    tx: RunTransaction,
    artifact_id: str,
    by: str,
    now: datetime,
    expires_at: datetime | None,
    *,
    once_downloaded: bool = False,
) -> Artifact:
    """Have an artifact expire then, or once it was downloaded; neither is never.

    Raises:
        InputError: it has no body of its own, which could expire.
        ArtifactNotFoundError: there is none, or its body is deleted already.
    """
    artifact = tx.get_artifact(artifact_id)
    if artifact.sha256 is None or not artifact.uri.startswith("artifact:"):
        raise InputError(
            f"{artifact.id} ({artifact.name}) is a {artifact.kind}, kept where it was made",
            hint="only what lies in artifact storage expires",
        )
    _require_body(tx, artifact)
    if (artifact.expires_at, artifact.once_downloaded) == (expires_at, once_downloaded):
        return artifact  # said a second time
    tx.set_expiry(artifact_id, expires_at, once_downloaded=once_downloaded)
    detail = {
        "expires_at": None if expires_at is None else expires_at.isoformat(),
        "once_downloaded": once_downloaded,
    }
    leave_audit(tx, by, "artifact.expire", artifact_id, detail, now)
    return tx.get_artifact(artifact_id)


def note_download(tx: RunTransaction, artifact_id: str, now: datetime) -> None:
    """Somebody has got all of it: what was to be kept until then expires soon."""
    artifact = tx.get_artifact(artifact_id)
    if not artifact.once_downloaded or artifact.body_deleted_at is not None:
        return
    soon = now + AGAIN
    if artifact.expires_at is None or artifact.expires_at > soon:
        tx.set_expiry(artifact_id, soon, once_downloaded=True)


def add_hold(
    tx: RunTransaction, scope: HoldScope, subject_id: str, reason: str, by: str, now: datetime
) -> Hold:
    """Keep an artifact, or all that a run made, until the hold is released.

    Raises:
        InputError: there is no reason.
        RunNotFoundError, ArtifactNotFoundError: there is none, or its body is deleted already.
    """
    if not reason.strip():
        raise InputError("a hold has a reason", hint="say who wants it kept, and why")
    match scope:
        case HoldScope.ARTIFACT:
            held = tx.get_artifact(subject_id)
            _require_body(tx, held)
            project_id = held.project_id
        case HoldScope.RUN:
            project_id = tx.lock_run(subject_id).project_id
            digests = {one.sha256 for one in _made_by(tx, subject_id) if one.sha256 is not None}
            if digests:
                tx.take_mark(sorted(digests))
    hold = Hold(
        tx.tenant_id, new_id("hold"), scope, subject_id, project_id, reason.strip(), now, by
    )
    tx.add_hold(hold)
    detail = {"scope": scope, "subject": subject_id, "reason": hold.reason}
    leave_audit(tx, by, "hold.add", hold.id, detail, now)
    return hold


def release_hold(tx: RunTransaction, hold_id: str, by: str, now: datetime) -> Hold:
    """Have a hold stand no more; releasing it again changes nothing.

    Raises:
        HoldNotFoundError: there is none.
    """
    hold = tx.get_hold(hold_id)
    if hold.released_at is not None:
        return hold
    released = replace(hold, released_at=now, released_by=by)
    tx.save_hold(released)
    detail = {"scope": hold.scope, "subject": hold.subject_id}
    leave_audit(tx, by, "hold.release", hold.id, detail, now)
    return released


def _require_body(tx: RunTransaction, artifact: Artifact) -> None:
    """Keep the sweep from its body; if that is at it, wait, and see whether it was quicker."""
    if artifact.sha256 is not None:
        tx.take_mark([artifact.sha256])
    if tx.get_artifact(artifact.id).body_deleted_at is not None:
        raise ArtifactNotFoundError(
            f"the body of {artifact.id} ({artifact.name}) is deleted already",
            hint="run its template once more to make it again",
        )


def _made_by(tx: RunTransaction, run_id: str) -> Iterator[Artifact]:
    after: Artifact | None = None
    while page := tx.list_artifacts(run_id=run_id, limit=_PAGE, after=after):
        yield from page
        after = page[-1]
