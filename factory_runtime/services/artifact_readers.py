"""Who may read the bytes of an artifact: its type and its classification decide, in one place."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.artifact import Artifact, ArtifactType, Classification
from factory_runtime.domain.errors import ArtifactNotFoundError, ForbiddenError
from factory_runtime.ports import RunTransaction


def require_reader(
    tx: RunTransaction, principal: Principal, artifact: Artifact, now: datetime
) -> None:
    """Let nobody read it who may not, and nobody once it has expired.

    Raises:
        ForbiddenError: they may see its record, but not read its bytes.
        ArtifactNotFoundError: it has expired, or its bytes are deleted.
    """
    asked = tx.get_run(artifact.run_id).requested_by == principal.name
    if not _may_read(principal, artifact, asked=asked):
        raise ForbiddenError(
            f"{principal.name} may not read {artifact.id}, which is {_described(artifact)}",
            hint=_HINTS.get(artifact.type, "an operator of its project may"),
        )
    if artifact.body_deleted_at is not None:
        raise ArtifactNotFoundError(
            f"the body of {artifact.id} ({artifact.name}) was deleted"
            f" on {artifact.body_deleted_at:%Y-%m-%d}, once it had expired",
            hint="run its template once more to make it again",
        )
    if artifact.has_expired(now) and not tx.is_held(artifact):
        raise ArtifactNotFoundError(
            f"{artifact.id} ({artifact.name}) has expired at {artifact.expires_at:%Y-%m-%d %H:%M}",
            hint="an operator may keep it, as long as its body is there:"
            f" `factory artifacts expire {artifact.id} --never`",
        )


def must_be_audited(artifact: Artifact) -> bool:
    """Whether nobody gets its bytes where that cannot be written down."""
    confidential = artifact.classification is Classification.CONFIDENTIAL
    return confidential or artifact.type is ArtifactType.DATA_EXPORT


def _may_read(principal: Principal, artifact: Artifact, *, asked: bool) -> bool:
    """``asked``: whether they have asked for its run."""
    operates = principal.may(Right.OPERATE, artifact.project_id)
    if artifact.classification is Classification.CONFIDENTIAL and not operates:
        return False
    reads = principal.may(Right.READ, artifact.project_id)
    match artifact.type:
        case ArtifactType.GENERATED_FILE | ArtifactType.ANALYSIS_RESULT:
            return reads
        case ArtifactType.DATA_EXPORT:
            return operates or (reads and asked)
        case ArtifactType.MESSAGE_CONTENT:
            # The jobs of its run read it where it belongs: nobody else has a use for it alone.
            return reads and asked
        case _:
            assert_never(artifact.type)


_HINTS = {
    ArtifactType.DATA_EXPORT: "who asked for its run may, and an operator of its project",
    ArtifactType.MESSAGE_CONTENT: "who asked for its run may; others see it within that run alone",
}


def _described(artifact: Artifact) -> str:
    if artifact.classification is Classification.CONFIDENTIAL:
        return f"a confidential {artifact.type}"
    return f"a {artifact.type}"
