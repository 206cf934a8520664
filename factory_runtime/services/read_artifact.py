"""Read what an artifact's record refers to."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, nullcontext, suppress
from datetime import datetime, timedelta
from typing import BinaryIO

from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    StoreUnavailableError,
)
from factory_runtime.ports import ArtifactStorage, RunStore
from factory_runtime.services.artifact_readers import must_be_audited
from factory_runtime.services.audit import leave_audit

_CHUNK = 1024 * 1024
_ACCESSED_WITHIN = timedelta(minutes=1)
"""When an artifact was read last is known as exactly as that."""


def open_artifact(storage: ArtifactStorage, artifact: Artifact) -> tuple[BinaryIO, int]:
    """An artifact's bytes, found to match their digest, and how many; the caller closes them.

    Raises:
        ArtifactNotFoundError: it has no bytes in artifact storage, or they are gone.
        CorruptArtifactError: they do not match their digest.
    """
    tenant_id, digest = artifact.tenant_id, body_of(artifact)
    try:
        # The whole of it first: half a damaged file is worse than none. Then the same stream again,
        # which stays whole for its reader whatever becomes of the body's name.
        body = storage.open(tenant_id, digest)
        with ExitStack() as stack:
            stack.enter_context(body)
            found, size = _measure(body)
            if found == digest:
                body.seek(0)
                stack.pop_all()
                return body, size
    except ArtifactNotFoundError as exc:
        raise ArtifactNotFoundError(
            f"the body of {artifact.id} ({artifact.name}) is gone from artifact storage",
            hint="run its template once more to make it again",
        ) from exc
    raise CorruptArtifactError(
        f"the body of {artifact.id} ({artifact.name}) does not match its digest {digest}",
        hint="run its template once more to make it again, or restore it from a backup",
    )


def note_reading(
    store: RunStore,
    artifact: Artifact,
    by: str,
    now: datetime,
    *,
    link_until: datetime | None = None,
) -> None:
    """Write down who is about to get an artifact's bytes, and that somebody still does.

    A store that cannot be written is no reason to withhold most of them.

    Args:
        store: the record.
        artifact: whose bytes.
        by: who.
        now: when.
        link_until: whoever has the link that they get may have them, too; None is no link.

    Raises:
        StoreUnavailableError: it cannot be written down, and this one nobody gets without, or no
            link to it.
    """
    is_needed = link_until is not None or must_be_audited(artifact)
    unwritten = nullcontext() if is_needed else suppress(StoreUnavailableError)
    with unwritten, store.begin(artifact.tenant_id) as tx:
        if artifact.accessed_at is None or now - artifact.accessed_at >= _ACCESSED_WITHIN:
            tx.touch_artifact(artifact.id, now)
        detail = {"run_id": artifact.run_id, "classification": artifact.classification.value}
        if link_until is not None:
            detail["link_until"] = link_until.isoformat()
        leave_audit(tx, by, "artifact.read", artifact.id, detail, now)


def body_of(artifact: Artifact) -> str:
    """The digest of its body.

    Raises:
        ArtifactNotFoundError: it has none.
    """
    if not artifact.has_body or artifact.sha256 is None:
        raise ArtifactNotFoundError(
            f"{artifact.id} ({artifact.name}) has no body in artifact storage",
            hint=f"it is kept where it was made: {artifact.uri}",
        )
    return artifact.sha256


def _measure(body: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := body.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
