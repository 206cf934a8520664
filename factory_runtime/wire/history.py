"""A run's history and what it left, as they are told of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from factory_runtime.domain.artifact import Artifact, ArtifactKind, Classification
from factory_runtime.domain.records import RunEvent
from factory_runtime.wire.base import Answer


class EventAnswer(Answer):
    """One line of a run's history."""

    sequence: int = Field(description="grows; asked for what came after it, as `after`")
    at: datetime
    kind: str = Field(examples=["job"])
    step: str | None = Field(default=None, description="null where the run itself moved")
    from_status: str | None = None
    to_status: str | None = None
    detail: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, event: RunEvent) -> EventAnswer:
        """What an event's record says."""
        return cls(**{name: getattr(event, name) for name in cls.model_fields})


class LogLine(Answer):
    """Something that a job said."""

    sequence: int
    at: datetime
    step: str | None = None
    level: str = "info"
    message: str

    @classmethod
    def of(cls, event: RunEvent) -> LogLine:
        """An event of the kind ``log`` as a line."""
        message, level = event.detail.get("message", ""), event.detail.get("level", "info")
        return cls(
            sequence=event.sequence,
            at=event.at,
            step=event.step,
            level=str(level),
            message=str(message),
        )


class ArtifactAnswer(Answer):
    """Something that a job made."""

    artifact_id: str
    run_id: str
    project_id: str
    step: str
    kind: ArtifactKind
    name: str
    uri: str
    media_type: str
    size: int | None = None
    sha256: str | None = None
    classification: Classification
    created_at: datetime
    accessed_at: datetime | None = None
    expires_at: datetime | None = None
    has_body: bool = Field(description="whether `…/body` answers with its bytes")
    metadata: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact) -> ArtifactAnswer:
        """What an artifact's record says."""
        names = set(cls.model_fields) - {"artifact_id"}
        facts = {name: getattr(artifact, name) for name in names}
        return cls(artifact_id=artifact.id, **facts)
