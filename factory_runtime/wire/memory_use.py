"""What a run was shown of the memory, as it is told."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from factory_runtime.domain.memory import Kind
from factory_runtime.domain.shown_memory import ShownMemory
from factory_runtime.wire.base import Answer


class ShownMemoryAnswer(Answer):
    """A memory that a run was shown, and whether the run made use of it."""

    memory_id: str
    title: str | None = Field(default=None, description="null where it is forgotten by now")
    kind: Kind | None = None
    source_run_id: str | None = Field(default=None, description="the run that taught it")
    step: str | None = Field(
        default=None,
        description="that recalled it; null where whoever asked for the run drew on it",
    )
    rank: int = Field(description="where it stood among what was shown, from 1")
    score: float = Field(description="0 where nobody searched for it")
    shown_at: datetime
    used_at: datetime | None = Field(
        default=None, description="when the run said that it used it; null while it has not"
    )

    @classmethod
    def of(cls, shown: ShownMemory) -> ShownMemoryAnswer:
        """What is recorded of it, and known of it now."""
        use = shown.use
        return cls(
            memory_id=use.memory_id,
            title=shown.title,
            kind=shown.kind,
            source_run_id=shown.source_run_id,
            step=use.step or None,
            rank=use.rank,
            score=use.score,
            shown_at=use.shown_at,
            used_at=use.used_at,
        )
