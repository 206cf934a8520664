"""What runs ask people, did outside and made, and who did what."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.records import EffectStatus
from factory_runtime.wire.approval import ApprovalAnswer, ApprovalDetail, Deny, Grant
from factory_runtime.wire.audit import AuditEntryAnswer
from factory_runtime.wire.effect import EffectAnswer
from factory_runtime.wire.history import ArtifactAnswer, ArtifactLink
from factory_runtime.wire.page import Part


def list_approvals(
    *,
    status: ApprovalStatus | None = None,
    run_id: str | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[ApprovalAnswer]]:
    """What waits for people."""
    query = query_of(status=status, run=run_id, limit=limit, cursor=cursor)
    return Call("GET", "/approvals", Part[ApprovalAnswer], query)


def get_approval(approval_id: str) -> Call[ApprovalDetail]:
    """What exactly somebody would approve."""
    return Call("GET", path_of("approvals", approval_id), ApprovalDetail)


def grant_approval(approval_id: str, comment: str = "") -> Call[ApprovalDetail]:
    """Say yes."""
    path, asked = path_of("approvals", approval_id, "grant"), Grant(comment=comment)
    return Call("POST", path, ApprovalDetail, body=body_of(asked))


def deny_approval(approval_id: str, comment: str) -> Call[ApprovalDetail]:
    """Say no, and why."""
    path, asked = path_of("approvals", approval_id, "deny"), Deny(comment=comment)
    return Call("POST", path, ApprovalDetail, body=body_of(asked))


def list_effects(
    *,
    run_id: str | None = None,
    step: str | None = None,
    status: EffectStatus | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[EffectAnswer]]:
    """What runs did outside."""
    query = query_of(run=run_id, step=step, status=status, limit=limit, cursor=cursor)
    return Call("GET", "/effects", Part[EffectAnswer], query)


def list_artifacts(
    *,
    run_id: str | None = None,
    project: str | None = None,
    kind: ArtifactKind | None = None,
    limit: int = 200,
    cursor: str | None = None,
) -> Call[Part[ArtifactAnswer]]:
    """What runs have made, the newest first; of one run the oldest first."""
    query = query_of(run=run_id, project=project, kind=kind, limit=limit, cursor=cursor)
    return Call("GET", "/artifacts", Part[ArtifactAnswer], query)


def get_artifact(artifact_id: str) -> Call[ArtifactAnswer]:
    """One thing that a run made."""
    return Call("GET", path_of("artifacts", artifact_id), ArtifactAnswer)


def get_artifact_body(artifact_id: str) -> Call[bytes]:
    """Its bytes; for ``download``."""
    return Call("GET", path_of("artifacts", artifact_id, "body"), bytes)


def link_artifact_body(artifact_id: str, *, minutes: int = 15) -> Call[ArtifactLink]:
    """An address that gives its bytes to whoever has it, for so long."""
    path = path_of("artifacts", artifact_id, "link")
    return Call("POST", path, ArtifactLink, query_of(minutes=minutes))


def list_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Part[AuditEntryAnswer]]:
    """Who did what, the newest first."""
    named = {"actor": actor, "action": action, "subject": subject, "since": since}
    query = query_of(**named, limit=limit, cursor=cursor)
    return Call("GET", "/audit", Part[AuditEntryAnswer], query)
