"""What the factory remembers, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictInt

from factory_runtime.domain.conditions import AllOf, open_to
from factory_runtime.domain.memory import COLLECTION_OF, Collection, Kind, Recalled
from factory_runtime.ports import RecallQuery
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.times import Time
from factory_runtime.wire.where import MAX_LENGTH, parse_where

USUAL = (Collection.RUNS, Collection.TEMPLATES)
"""Where is looked if nobody says where."""

Word = Annotated[str, Field(min_length=1, max_length=200)]
Collections = Annotated[tuple[Collection, ...], Field(min_length=1, max_length=4)]
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1, max_length=6)]

_ASKED: dict[str, Any] = {
    "query": "orders service with a queue",
    "kinds": ["run", "template"],
    "where": "outcome = 'succeeded' and created_at > now() - interval '30 days'",
    "limit": 5,
}


def places_of(
    collections: tuple[Collection, ...] | None, kinds: tuple[Kind, ...] | None
) -> tuple[Collection, ...]:
    """Where to look: where somebody says, else where what is looked for lies."""
    if collections:
        return collections
    return tuple(dict.fromkeys(COLLECTION_OF[kind] for kind in kinds)) if kinds else USUAL


class MemoryQuestion(Question):
    """What to look for, in words."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    query: Annotated[str, Field(min_length=1, max_length=4000)]
    collections: Collections | None = Field(
        default=None, description="those of the kinds by default, else runs and templates"
    )
    kinds: Kinds | None = Field(default=None, description="of one of them")
    project: Word | None = Field(
        default=None, description="what belongs to no project, like templates, is found as well"
    )
    template: Word | None = None
    outcome: Word | None = Field(default=None, examples=["succeeded"])
    since: Time = Field(default=None, description="learned then or later")
    until: Time = Field(default=None, description="learned before")
    where: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)] | None = Field(
        default=None, description="what else must hold, like the WHERE of SQL"
    )
    limit: Annotated[StrictInt, Field(ge=1, le=100)] = 5

    def told(
        self,
        now: datetime,
        projects: tuple[str, ...] | None,
        confidential: tuple[str, ...] | None,
    ) -> RecallQuery:
        """The question of somebody who sees these projects; None is all.

        Args:
            now: what times in ``where`` are counted from.
            projects: which they see.
            confidential: in which of them also what is confidential.

        Raises:
            InputError: ``where`` says what a filter cannot.
        """
        conditions = (
            None if self.where is None else parse_where(self.where, now),
            open_to(confidential),
        )
        both = tuple(one for one in conditions if one is not None)
        return RecallQuery(
            text=self.query,
            collections=places_of(self.collections, self.kinds),
            kinds=self.kinds,
            project_id=self.project,
            projects=projects,
            template_id=self.template,
            outcome=self.outcome,
            since=self.since,
            until=self.until,
            where=AllOf(both) if both else None,
            limit=self.limit,
        )


class RecalledAnswer(Answer):
    """Something that is remembered, and how much it is like what was asked."""

    memory_id: str
    score: float = Field(description="what it is ordered by: likeness and words weighed")
    likeness: float = Field(default=0.0, description="of meaning: 1 is the same, 0 unrelated")
    words: float = Field(
        default=0.0, description="of the query: 1 where all stand in it that are rare"
    )
    kind: Kind = Kind.RUN
    collection: Collection
    title: str
    text: str
    prose: str | None = Field(
        default=None,
        description="the text in a language model's words: nobody has checked them, and they are"
        " not searched",
    )
    created_at: datetime
    changed_at: datetime | None = None
    project_id: str | None = None
    module_id: str | None = None
    run_id: str | None = None
    step: str | None = None
    artifact_id: str | None = None
    commit: str | None = None
    path: str | None = None
    first_line: int | None = None
    last_line: int | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    template_id: str | None = None
    template_version: str | None = None
    outcome: str | None = None
    classification: str
    superseded: str | None = Field(
        default=None, description="what has taken its place, which is why it stands further down"
    )
    folded: tuple[str, ...] = Field(
        default=(), description="memories that say nearly the same, shown as this one"
    )
    shared_by: str | None = Field(default=None, description="the tenant that shares it")
    facts: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, recalled: Recalled) -> RecalledAnswer:
        """What was found."""
        memory = recalled.memory
        scored = {name: getattr(recalled, name) for name in _OF_RECALLED}
        names = set(cls.model_fields) - {"memory_id", *_OF_RECALLED}
        facts = {name: getattr(memory, name) for name in names}
        return cls(memory_id=memory.id, **scored, **facts)


_OF_RECALLED = ("score", "likeness", "words", "superseded", "folded", "shared_by")
