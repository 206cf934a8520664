"""pull-request: asks people to merge a branch, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder, Undone
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.delivering import (
    LINE_SCHEMA,
    TEXT_SCHEMA,
    check_ours,
    named_of,
    not_offered,
    offered_by_host,
    probed_delivery,
)
from factory_runtime.jobs.publishing import REPOSITORY_SCHEMA
from factory_runtime.ports import FileTree, GitHost, JobContext, PullRequestOrder

ABANDON = "abandon"

_KIND = "pull-request"
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["repository", "branch", "title"],
    "additionalProperties": False,
    "properties": {
        "repository": REPOSITORY_SCHEMA,
        "branch": {**LINE_SCHEMA, "description": "that is to be merged"},
        "target": {**LINE_SCHEMA, "description": "into which; the default branch if not said"},
        "title": LINE_SCHEMA,
        "description": {**TEXT_SCHEMA, "maxLength": 3500},
        "work_items": {
            "type": "array",
            "items": {"type": ["string", "null"]},
            "description": "ids of work items that it is linked with",
        },
    },
}


class PullRequestJob:
    """Opens a pull request. Outputs: offered, id, url, status, branch, target."""

    facts = JobTypeFacts(
        name=_KIND,
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        undos=(ABANDON,),
        hosts=("git",),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        delivery = offered_by_host(context)
        if delivery is None:
            return not_offered("id", "url", "status", "branch", "target")
        facts, repository, branch = context.facts, with_["repository"], with_["branch"]
        check_ours(context, repository)
        probed_by = {"project_id": facts.project_id, "repository": repository}
        place = f"{facts.project_id}/{repository}"
        context.intend(_KIND, f"pull request of {branch} in {place}", probed_by)
        context.check_lease()
        order = PullRequestOrder(
            project_id=facts.project_id,
            repository=repository,
            branch=branch,
            title=with_["title"],
            description=with_.get("description") or named_of(context),
            effect_key=facts.effect_key,
            target=with_.get("target"),
            work_items=tuple(one for one in with_.get("work_items", ()) if one),
        )
        made = delivery.ensure_pull_request(facts.tenant_id, order)
        context.log(f"{'opened' if made.created else 'found'} pull request {made.id}: {made.url}")
        return JobResult(
            outputs={
                "offered": True,
                "id": made.id,
                "url": made.url,
                "status": made.status,
                "branch": made.branch,
                "target": made.target,
            },
            effects=(ConfirmedEffect(_KIND, made.id, made.url),),
        )

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        place = probed_delivery(host, effect, "project_id", "repository")
        if place is None:
            return None
        delivery, (project_id, repository) = place
        key = effect.facts.get("made_by", effect.effect_key)
        found = delivery.find_pull_request(effect.tenant_id, project_id, repository, effect_key=key)
        if effect.kind == _KIND:
            return None if found is None else found.id
        return None if found is not None and found.is_open else "closed"

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        del undo  # there is one
        made: list[ConfirmedEffect] = []
        undone: list[Undone] = []
        for effect in effects:
            one, confirmed = _abandon(context, effect)
            undone.append(one)
            made += confirmed
        return JobResult(effects=tuple(made), undone=tuple(undone))


def _abandon(context: JobContext, effect: Effect) -> tuple[Undone, tuple[ConfirmedEffect, ...]]:
    place = probed_delivery(context.host, effect, "project_id", "repository")
    if place is None or effect.reference is None:
        return Undone(effect.kind, left="the host offers no pull requests any more"), ()
    delivery, (project_id, repository) = place
    probed_by = {**effect.facts, "made_by": effect.effect_key}
    kind = f"undo-{effect.kind}"
    context.intend(kind, f"end of {effect.target}", probed_by)
    context.check_lease()
    tenant_id = context.facts.tenant_id
    delivery.abandon_pull_request(tenant_id, project_id, repository, effect.reference)
    context.log(f"abandoned pull request {effect.reference}, unless it had been merged")
    found = delivery.find_pull_request(
        tenant_id, project_id, repository, effect_key=effect.effect_key
    )
    if found is not None and found.is_merged:
        left = f"pull request {effect.reference} is merged"
        return Undone(effect.kind, left=left), (ConfirmedEffect(kind, "merged"),)
    return Undone(effect.kind, note="abandoned"), (ConfirmedEffect(kind, "abandoned"),)
