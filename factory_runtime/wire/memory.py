"""What the factory remembers, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from factory_runtime.domain.memory import Collection, Recalled
from factory_runtime.wire.base import Answer, Question

_ASKED: dict[str, Any] = {
    "query": "orders service with a queue",
    "collections": ["runs", "templates"],
    "limit": 5,
}


class MemoryQuestion(Question):
    """What to look for, in words."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    query: Annotated[str, Field(min_length=1, max_length=4000)]
    collections: Annotated[tuple[Collection, ...], Field(min_length=1, max_length=4)] = (
        Collection.RUNS,
        Collection.TEMPLATES,
    )
    project: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="what belongs to no project, like templates, is found as well"
    )
    outcome: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 5


class RecalledAnswer(Answer):
    """Something that is remembered, and how much it is like what was asked."""

    memory_id: str
    score: float = Field(description="1 is the same, 0 unrelated")
    collection: Collection
    title: str
    text: str
    created_at: datetime
    project_id: str | None = None
    module_id: str | None = None
    run_id: str | None = None
    step: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    template_id: str | None = None
    template_version: str | None = None
    outcome: str | None = None
    classification: str
    facts: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, recalled: Recalled) -> RecalledAnswer:
        """What was found."""
        memory = recalled.memory
        names = set(cls.model_fields) - {"memory_id", "score"}
        facts = {name: getattr(memory, name) for name in names}
        return cls(memory_id=memory.id, score=recalled.score, **facts)
