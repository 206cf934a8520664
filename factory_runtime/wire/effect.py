"""The ledger of what runs did outside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.wire.base import Answer


class EffectAnswer(Answer):
    """Something that a job made outside, or was about to."""

    effect_key: str = Field(description="the same for all attempts of a job")
    kind: str
    run_id: str
    step: str
    target: str = Field(examples=["repository demo/orders"])
    status: EffectStatus
    intended_at: datetime
    confirmed_at: datetime | None = None
    reference: str | None = Field(default=None, description="what came of it, like a commit's id")
    link: str | None = None
    facts: Mapping[str, Any] = Field(default_factory=dict)
    settled_at: datetime | None = Field(default=None, description="when it was undone or orphaned")
    reason: str | None = None
    undone_by: str | None = Field(default=None, description="the run that undid it, or left it")

    @classmethod
    def of(cls, effect: Effect) -> EffectAnswer:
        """What an effect's record says."""
        return cls(**{name: getattr(effect, name) for name in cls.model_fields})


class Undoing(Answer):
    """What a run did outside is taken back."""

    run_id: str
    undone_by: str | None = Field(
        default=None, description="the run that does it; null while it is not made yet"
    )
