"""A run's history and what it left, as they are told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from factory_runtime.domain.artifact import Artifact, ArtifactKind, ArtifactType, Classification
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.wire.base import Answer


@dataclass(frozen=True, slots=True)
class Spans:
    """Where in the traces it belongs what a run's jobs do, say and make.

    Attributes:
        trace_id: of the run's request.
        by_step: each job's span; None of one that has not begun.
    """

    trace_id: str
    by_step: Mapping[str, str | None]

    @classmethod
    def of(cls, run: Run, jobs: Iterable[Job]) -> Spans:
        """Of a run and all its jobs, as they stand."""
        return cls(run.trace_id, {job.step: job.span_id for job in jobs})

    def at(self, step: str | None) -> dict[str, Any]:
        """The fields that say it."""
        span_id = None if step is None else self.by_step.get(step)
        return {"trace_id": self.trace_id, "span_id": span_id}


class Traced(Answer):
    """Something with a place in the traces."""

    trace_id: str = Field(description="of the request that it comes from")
    span_id: str | None = Field(default=None, description="of its job")


class EventAnswer(Traced):
    """One line of a run's history."""

    sequence: int = Field(description="grows; asked for what came after it, as `after`")
    at: datetime
    kind: str = Field(examples=["job"])
    step: str | None = Field(default=None, description="null where the run itself moved")
    from_status: str | None = None
    to_status: str | None = None
    detail: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, event: RunEvent, spans: Spans) -> EventAnswer:
        """What an event's record says."""
        names = cls.model_fields.keys() - Traced.model_fields.keys()
        return cls(**{name: getattr(event, name) for name in names}, **spans.at(event.step))


class LogLine(Traced):
    """Something that a job said."""

    sequence: int
    at: datetime
    step: str | None = None
    level: str = "info"
    message: str

    @classmethod
    def of(cls, event: RunEvent, spans: Spans) -> LogLine:
        """An event of the kind ``log`` as a line."""
        message, level = event.detail.get("message", ""), event.detail.get("level", "info")
        return cls(
            sequence=event.sequence,
            at=event.at,
            step=event.step,
            level=str(level),
            message=str(message),
            **spans.at(event.step),
        )


class ArtifactLink(Answer):
    """Where to fetch the bytes of an artifact, for a while, without any other credential."""

    url: str
    expires_at: datetime
    sha256: str | None = Field(default=None, description="what the bytes are to match")
    size: int | None = None


class ArtifactAnswer(Traced):
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
    creator: str | None = Field(default=None, description="the key of the attempt that made it")
    type: ArtifactType = ArtifactType.GENERATED_FILE
    classification: Classification
    created_at: datetime
    accessed_at: datetime | None = Field(default=None, description="to the minute")
    expires_at: datetime | None = Field(
        default=None, description="from then on nobody gets its bytes; null is never"
    )
    once_downloaded: bool = Field(
        default=False, description="whether it expires an hour after somebody got all of it"
    )
    body_deleted_at: datetime | None = None
    has_body: bool = Field(description="whether `…/body` answers with its bytes")
    metadata: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact, spans: Spans) -> ArtifactAnswer:
        """What an artifact's record says."""
        names = cls.model_fields.keys() - Traced.model_fields.keys() - {"artifact_id"}
        facts = {name: getattr(artifact, name) for name in names}
        return cls(artifact_id=artifact.id, **facts, **spans.at(artifact.step))
