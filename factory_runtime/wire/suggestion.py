"""A template that fits what somebody wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from factory_runtime.domain.suggestion import NearTemplate, Suggestion
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.memory import RecalledAnswer, Word

_ASKED: dict[str, Any] = {"query": "a service that keeps orders and sends invoices"}


class SuggestQuestion(Question):
    """What somebody wants to make, in words."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    query: Annotated[str, Field(min_length=1, max_length=4000)]
    project: Word | None = Field(
        default=None, description="draw from runs of this project alone, and what is of none"
    )


class NearTemplateAnswer(Answer):
    """A template that may be asked for, with how near it is to what is wanted."""

    template_id: str
    version: str
    title: str
    score: float = Field(description="1 is the same, 0 unrelated")

    @classmethod
    def of(cls, near: NearTemplate) -> NearTemplateAnswer:
        """How near it is."""
        return cls(**{name: getattr(near, name) for name in cls.model_fields})


class SuggestionAnswer(Answer):
    """What may be asked for: a template, and inputs from runs that were asked likewise."""

    template: NearTemplateAnswer | None = Field(
        default=None, description="null where nothing is near enough"
    )
    inputs: Mapping[str, Any] = Field(
        default_factory=dict,
        description="valid for the template as it is now; no secrets, no names",
    )
    asked: tuple[str, ...] = Field(
        default=(), description="required inputs that only who asks can say"
    )
    because: tuple[RecalledAnswer, ...] = Field(
        default=(), description="memories that speak for it; those that inputs are from go first"
    )
    drawn_from: tuple[str, ...] = Field(
        default=(),
        description="of those that inputs are from, what a request of the project may name as its"
        " own `drawnFrom`; without `project`, one that names none either",
    )
    nearest: tuple[NearTemplateAnswer, ...] = Field(
        default=(), description="the nearest first; also where none is near enough"
    )

    @classmethod
    def of(cls, suggestion: Suggestion, project_id: str) -> SuggestionAnswer:
        """What is suggested to who would ask for a run of the project."""
        best = suggestion.template
        return cls(
            template=None if best is None else NearTemplateAnswer.of(best),
            inputs=suggestion.inputs,
            asked=suggestion.asked,
            because=tuple(map(RecalledAnswer.of, suggestion.because)),
            drawn_from=suggestion.named_by(project_id),
            nearest=tuple(map(NearTemplateAnswer.of, suggestion.nearest)),
        )
