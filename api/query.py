"""Which runs are meant, as the query of a URL says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.wire.base import Question
from factory_runtime.wire.run import Name
from factory_runtime.wire.times import Time

Standing = Annotated[bool, Field(description="whether to tell why open ones wait")]


class RunChoice(Question):
    """What a run must be to be meant; all that is given must hold, of statuses one."""

    status: Annotated[list[RunStatus], Field(max_length=9)] = Field(default_factory=list[RunStatus])
    project: Name | None = None
    template: Name | None = None
    requester: Name | None = None
    module_id: Name | None = None
    trace_id: Name | None = None
    correlation_id: Name | None = None
    external_id: Name | None = Field(
        default=None,
        description="a build's, repository's, pipeline's, work item's or webhook delivery's",
    )
    since: Time = Field(default=None, description="requested then or later")
    until: Time = Field(default=None, description="requested before")
    ended_since: Time = None
    ended_until: Time = None
    text: Name | None = Field(
        default=None,
        description="words of its template, project, module, requester or inputs: all of them",
    )
    not_since_succeeded: bool = Field(
        default=False, description="none of the same project, template and inputs has since"
    )
    error: Name | None = Field(default=None, description="a part of what it failed of")
    can_be_retried: bool = Field(
        default=False,
        description="it failed, is not undone, and has letters that are not discarded",
    )

    def filter(self, principal: Principal) -> RunFilter:
        """As the store wants it: within the projects that they may see."""
        projects = principal.projects(Right.READ)
        return RunFilter(
            project_id=self.project,
            template_id=self.template,
            statuses=tuple(self.status),
            requested_by=self.requester,
            since=self.since,
            until=self.until,
            ended_since=self.ended_since,
            ended_until=self.ended_until,
            error=self.error,
            not_since_succeeded=self.not_since_succeeded,
            projects=None if projects is None else tuple(sorted(projects)),
            module_id=self.module_id,
            trace_id=self.trace_id,
            correlation_id=self.correlation_id,
            outside_id=self.external_id,
            text=self.text,
            can_be_retried=self.can_be_retried,
        )


class RunPage(RunChoice):
    """Which runs, and which part of them."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=500)] | None = None
    standing: Standing = False
    with_count: bool = False
