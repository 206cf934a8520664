"""What is known of failures like a dead letter's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from factory_runtime.domain.failure_hints import FailureHints, KnownFailure
from factory_runtime.domain.failure_pattern import Resolution
from factory_runtime.wire.base import Answer
from factory_runtime.wire.memory import RecalledAnswer


class ResolutionAnswer(Answer):
    """What was otherwise when a step was tried again after such a failure."""

    digest: str = Field(description="the same for the same difference")
    words: str = Field(examples=["timeout 60 → 600"])
    status: Literal["candidate", "confirmed"] = Field(
        description="confirmed once it worked twice: once may be chance"
    )
    tried: int
    worked: int
    rate: float = Field(description="the share of tries that worked, 0 to 1")
    last_at: datetime
    changes: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, resolution: Resolution) -> ResolutionAnswer:
        """What was tried, and what came of it."""
        return cls(
            digest=resolution.digest,
            words=resolution.words,
            status="confirmed" if resolution.is_confirmed else "candidate",
            tried=resolution.tried,
            worked=resolution.worked,
            rate=resolution.rate,
            last_at=resolution.last_at,
            changes=tuple(resolution.difference.to_facts()),
        )


class FailureHint(RecalledAnswer):
    """A kind of failure that was seen before."""

    resolutions: tuple[ResolutionAnswer, ...] = Field(
        default=(), description="what helped most often first; what was tried in vain last"
    )

    @classmethod
    def told(cls, known: KnownFailure) -> FailureHint:
        """What is known of it."""
        facts: dict[str, Any] = RecalledAnswer.of(known.recalled).model_dump()
        return cls(**facts, resolutions=tuple(map(ResolutionAnswer.of, known.resolutions)))


class HintsAnswer(Answer):
    """What may help with a dead letter."""

    same: FailureHint | None = Field(
        default=None, description="failures of the same fingerprint; null where it is new"
    )
    similar: tuple[FailureHint, ...] = Field(
        default=(), description="other kinds of failure that read like it, the most alike first"
    )
    trouble: str | None = Field(
        default=None, description="why it is not known what is similar; null where it is"
    )

    @classmethod
    def of(cls, hints: FailureHints) -> HintsAnswer:
        """What is known."""
        return cls(
            same=None if hints.same is None else FailureHint.told(hints.same),
            similar=tuple(map(FailureHint.told, hints.similar)),
            trouble=hints.trouble,
        )
