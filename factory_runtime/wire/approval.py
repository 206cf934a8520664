"""Approvals: what people are asked before a job goes on, and what they said."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.plan import PlanAnswer


class Grant(Question):
    """Say yes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": "costs are agreed"}]})

    comment: Annotated[str, Field(max_length=2000)] = ""


class Deny(Question):
    """Say no, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": "use the shared one"}]})

    comment: Annotated[str, Field(min_length=1, max_length=2000)]


class VoteAnswer(Answer):
    """What one person said."""

    person: str
    granted: bool
    at: datetime
    comment: str
    behind: tuple[str, ...] = Field(
        default=(), description="who gave the API key that it was said with, and who gave theirs"
    )

    @classmethod
    def of(cls, vote: Vote) -> VoteAnswer:
        """What a vote's record says."""
        return cls(**{name: getattr(vote, name) for name in cls.model_fields})


class ApprovalAnswer(Answer):
    """A question to people that a job waits for."""

    approval_id: str
    run_id: str
    step: str
    project_id: str
    status: ApprovalStatus
    message: str
    requested_by: str = Field(description="of the run: they may not decide")
    requested_at: datetime
    by: tuple[str, ...] = Field(
        description="who may decide: names, or `group:NAME`; nobody named is anybody but them"
    )
    count: int = Field(description="how many have to grant it; one who denies it decides alone")
    expires_at: datetime
    escalate_at: datetime | None = None
    escalate_to: tuple[str, ...] = Field(default=(), description="who may decide as well by then")
    escalated_at: datetime | None = None
    decided_at: datetime | None = None
    plan_digest: str
    cycle: int
    version: int = 1

    @classmethod
    def of(cls, approval: Approval) -> ApprovalAnswer:
        """What an approval's record says."""
        names = set(cls.model_fields) - {"approval_id"}
        return cls(approval_id=approval.id, **{name: getattr(approval, name) for name in names})


class ApprovalDetail(Answer):
    """A question and the votes so far, in the order they came."""

    approval: ApprovalAnswer
    votes: tuple[VoteAnswer, ...]
    plan: PlanAnswer | None = Field(default=None, description="what `planDigest` is the digest of")
    why_not: str | None = Field(
        default=None,
        description="why whoever asks may not grant it, as what follows their name",
    )
    counted: bool = Field(
        default=True, description="false where the very vote had been given before"
    )

    @classmethod
    def told(cls, approval: Approval, votes: tuple[Vote, ...], **more: Any) -> ApprovalDetail:
        """What their records say; ``more`` is the other fields."""
        told = tuple(map(VoteAnswer.of, votes))
        return cls(approval=ApprovalAnswer.of(approval), votes=told, **more)
