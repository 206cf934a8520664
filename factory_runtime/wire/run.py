"""Runs, as they are asked for and told of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from factory_runtime.domain.ids import SLUG
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.domain.shown_memory import MEMORY_ID, MOST_DRAWN_FROM
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.standing import ReasonAnswer

Name = Annotated[str, Field(min_length=1, max_length=200)]
Slug = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{SLUG.pattern}$")]
MemoryId = Annotated[str, Field(pattern=f"^{MEMORY_ID.pattern}$")]
JsonObject = Mapping[str, JsonValue]

_ASKED: dict[str, JsonValue] = {
    "templateRecipeId": "microservice",
    "projectId": "shop",
    "inputs": {"service_name": "orders"},
    "priority": "high",
    "metadata": {"ticket": "SHOP-17"},
}


class NewRun(Question):
    """What somebody wants made."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED]})

    template_recipe_id: Name = Field(description="the template, by its id")
    template_version: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="of the template; null takes the newest"
    )
    project_id: Slug | None = Field(default=None, description="null takes the server's default")
    module_id: Name | None = None
    inputs: JsonObject = Field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    deadline: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        default=None, description="the most that it may take, like `2h` or `90m`"
    )
    correlation_id: Name | None = None
    metadata: JsonObject = Field(default_factory=dict)
    drawn_from: Annotated[tuple[MemoryId, ...], Field(max_length=MOST_DRAWN_FROM)] = Field(
        default=(), description="memories that whoever asks has made use of, by their ids"
    )
    callback_url: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None, description="told when the run has ended, by a signed POST"
    )


class RunSummary(Answer):
    """A run, as a list has it."""

    run_id: str
    tenant_id: str
    project_id: str
    module_id: str | None = None
    template_recipe_id: str
    template_version: str
    template_digest: str = ""
    status: RunStatus
    priority: Priority
    requested_by: str
    requested_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    admitted_at: datetime | None = Field(default=None, description="when it got its slot")
    wake_at: datetime | None = Field(default=None, description="a Waiting run goes on then")
    cancel_requested_at: datetime | None = None
    pause_requested_at: datetime | None = None
    people_asked_at: datetime | None = Field(default=None, description="since when people are")
    undo_requested_by: str | None = None
    inputs_digest: str | None = Field(
        default=None, description="the same request, with defaults, gives the same"
    )
    cycle: int = Field(description="0, and one more each time it was sent round again")
    version: int = Field(description="grows with every change of the run")
    error: str | None = None
    trace_id: str
    correlation_id: str
    flow_run_id: str | None = None
    delivery_id: str | None = Field(default=None, description="the webhook's that began it")
    git_host: str | None = Field(
        default=None,
        description="where its repositories are, from when it first ran: `local`, or `block:` and"
        " a name",
    )
    build_id: str | None = None
    repo_id: str | None = None
    pipeline_id: str | None = None
    work_item_id: str | None = None
    undoes: str | None = Field(default=None, description="the run whose effects it takes back")
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    refused: bool = Field(default=False, description="it was never to begin, and has no plan")
    waits: tuple[ReasonAnswer, ...] | None = Field(
        default=None, description="why it stands where it does, where `standing` asks for that"
    )

    @classmethod
    def of(cls, run: Run, waits: tuple[ReasonAnswer, ...] | None = None) -> RunSummary:
        """What a run's record says."""
        return cls(**_facts_of(run), waits=waits)


class RunDetail(RunSummary):
    """A run with what it was given and what came of it."""

    inputs: Any = None
    outputs: Any = None
    undone_by: str | None = Field(default=None, description="the run that takes its effects back")


def _facts_of(run: Run) -> dict[str, Any]:
    same = set(RunSummary.model_fields) - {"run_id", "template_recipe_id", "refused", "waits"}
    facts = {name: getattr(run, name) for name in same}
    return {
        **facts,
        "run_id": run.id,
        "template_recipe_id": run.template_id,
        "refused": run.plan is None,
    }
