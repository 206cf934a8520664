"""Context packages: what is known about a task, and how fresh that is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictInt

from factory_runtime.domain.context import BUDGETS, TTLS, Bundle, Cited, Task
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.memory import Kinds, RecalledAnswer, Word

_LEAST, _MOST = BUDGETS
_SHORTEST, _LONGEST = (int(ttl.total_seconds()) for ttl in TTLS)
_USUAL = Task("")
_ASKED: dict[str, Any] = {
    "task": "add an outbox to the orders service",
    "budgetTokens": 2000,
    "ttlSeconds": 300,
}


class ContextQuestion(Question):
    """A task that somebody wants to know more for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    task: Annotated[str, Field(min_length=1, max_length=4000)]
    budget_tokens: Annotated[StrictInt, Field(ge=_LEAST, le=_MOST)] = _USUAL.budget
    kinds: Kinds | None = Field(default=None, description="of one of them")
    project: Word | None = Field(
        default=None, description="what belongs to no project, like templates, is found as well"
    )
    ttl_seconds: Annotated[StrictInt, Field(ge=_SHORTEST, le=_LONGEST)] = Field(
        default=int(_USUAL.ttl.total_seconds()),
        description="how old a package may be that was made for the task before, and how long a"
        " new one can be read",
    )

    def told(self, projects: tuple[str, ...] | None, confidential: tuple[str, ...] | None) -> Task:
        """The task of somebody who sees these projects, and in some what is confidential."""
        return Task(
            text=self.task,
            budget=self.budget_tokens,
            kinds=self.kinds,
            project_id=self.project,
            projects=projects,
            confidential=confidential,
            ttl=timedelta(seconds=self.ttl_seconds),
        )


class CitedAnswer(RecalledAnswer):
    """A memory in a package; of its scores, the one it was chosen by."""

    cited_text: str = Field(description="as it stands in the package's text, with its citation")
    tokens: int = Field(description="of it")
    is_cut: bool = Field(default=False, description="whether there was no room for all of it")

    @classmethod
    def told(cls, cited: Cited) -> CitedAnswer:
        """What stands in the package."""
        facts: dict[str, Any] = RecalledAnswer.of(cited.recalled).model_dump()
        return cls(**facts, cited_text=cited.text, tokens=cited.tokens, is_cut=cited.is_cut)


class Freshness(Answer):
    """How fresh a package is."""

    newest_at: datetime | None = Field(
        default=None, description="when the newest of its memories became what it was then"
    )
    index_lag_seconds: float = Field(
        description="how old the oldest memory was that could not be found yet"
    )
    created_at: datetime
    expires_at: datetime


class ContextAnswer(Answer):
    """What is known about a task, within its budget, each with where it is from."""

    context_package_id: str
    ttl_seconds: float = Field(description="between its making and its end")
    budget_tokens: int
    tokens: int
    counted_by: str = Field(
        description="the model whose tokens these are; `characters/4` where no model counts them",
        examples=["all-MiniLM-L6-v2"],
    )
    freshness: Freshness
    text: str = Field(description="all of it, to be handed on")
    items: tuple[CitedAnswer, ...]

    @classmethod
    def of(cls, bundle: Bundle) -> ContextAnswer:
        """A package as it reads now."""
        package = bundle.package
        return cls(
            context_package_id=package.id,
            ttl_seconds=(package.expires_at - package.created_at).total_seconds(),
            budget_tokens=package.budget,
            tokens=bundle.tokens,
            counted_by=bundle.counted_by,
            freshness=Freshness(
                newest_at=package.newest_at,
                index_lag_seconds=package.lag_seconds,
                created_at=package.created_at,
                expires_at=package.expires_at,
            ),
            text=bundle.text,
            items=tuple(map(CitedAnswer.told, bundle.cited)),
        )
