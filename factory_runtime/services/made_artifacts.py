"""What an attempt has made, as it is recorded: by whom, and until when it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from factory_runtime.domain.artifact import Artifact, ArtifactDraft, ArtifactType
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.policy import Expiry
from factory_runtime.domain.run import Run

ExpiryOf = Callable[[str], Mapping[ArtifactType, Expiry]]
"""A tenant's policy: how long what no job says anything of is kept."""

_FOR_GOOD = Expiry()


def no_expiry(tenant_id: str) -> Mapping[ArtifactType, Expiry]:
    """Everything is kept for good."""
    del tenant_id
    return {}


def made_artifacts(
    run: Run, attempt: Attempt, drafts: Sequence[ArtifactDraft], now: datetime, expiry_of: ExpiryOf
) -> list[Artifact]:
    """Their records. May read the run store: call it outside of transactions."""
    is_asked = any(map(_is_left_to_policy, drafts))
    by_type = (expiry_of if is_asked else no_expiry)(run.tenant_id)
    return [_made(run, attempt, draft, now, by_type) for draft in drafts]


def _made(
    run: Run,
    attempt: Attempt,
    draft: ArtifactDraft,
    now: datetime,
    by_type: Mapping[ArtifactType, Expiry],
) -> Artifact:
    type_ = draft.type or ArtifactType.of(draft.kind)
    kept = Expiry(draft.expires, draft.once_downloaded)
    if _is_left_to_policy(draft):
        kept = by_type.get(type_, _FOR_GOOD)
    return Artifact(
        id=new_id("art"),
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=attempt.step,
        kind=draft.kind,
        name=draft.name,
        uri=draft.uri,
        media_type=draft.media_type,
        creator=attempt.key,
        created_at=now,
        project_id=run.project_id,
        size=draft.size,
        sha256=draft.sha256,
        classification=draft.classification,
        metadata=draft.metadata,
        type=type_,
        expires_at=None if kept.after is None else now + kept.after,
        once_downloaded=kept.once_downloaded,
    )


def _is_left_to_policy(draft: ArtifactDraft) -> bool:
    """Whether its job says nothing of it. What lies elsewhere is kept where it was made."""
    says_nothing = draft.expires is None and not draft.once_downloaded
    return says_nothing and draft.uri.startswith("artifact:")
