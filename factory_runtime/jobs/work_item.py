"""work-item: something for people to do or to know, linked with what the run has made, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.delivering import (
    LINE_SCHEMA,
    TEXT_SCHEMA,
    named_of,
    not_offered,
    offered_by_host,
    probed_delivery,
)
from factory_runtime.ports import FileTree, GitHost, JobContext, Link, WorkItemOrder

_KIND = "work-item"
_AUTO = "auto"
_NULLABLE = {"type": ["string", "null"], "maxLength": 2000}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["title"],
    "additionalProperties": False,
    "properties": {
        "type": {
            **LINE_SCHEMA,
            "description": "as the project's process names it, Task if not said",
        },
        "title": LINE_SCHEMA,
        "description": TEXT_SCHEMA,
        "fields": {
            "type": "object",
            "propertyNames": {"pattern": r"^[A-Za-z]\w*(\.\w+)+$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "description": "others, by reference name, like System.AreaPath",
        },
        "links": {
            "description": (
                "auto (if not said): the last commit in each repository, pull requests and builds of"
                " this run, and its page; or a list. One without a target is left out."
            ),
            "oneOf": [
                {"const": _AUTO},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["kind", "target"],
                        "additionalProperties": False,
                        "properties": {
                            "kind": {"enum": ["commit", "pull-request", "build", "page"]},
                            "target": _NULLABLE,
                            "repository": _NULLABLE,
                            "comment": LINE_SCHEMA,
                        },
                    },
                },
            ],
        },
    },
}


class WorkItemJob:
    """Makes a work item. Outputs: offered, id, url."""

    facts = JobTypeFacts(
        name=_KIND, version="1", with_schema=_SCHEMA, source_keys=(), hosts=("git",)
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
            return not_offered("id", "url")
        facts, title = context.facts, with_["title"]
        context.intend(_KIND, f"work item {title!r}", {"project_id": facts.project_id})
        context.check_lease()
        order = WorkItemOrder(
            project_id=facts.project_id,
            type=with_.get("type", "Task"),
            title=title,
            description=with_.get("description") or named_of(context),
            effect_key=facts.effect_key,
            fields={name: str(value) for name, value in with_.get("fields", {}).items()},
            links=_links(context, with_.get("links", _AUTO)),
        )
        made = delivery.ensure_work_item(facts.tenant_id, order)
        context.log(f"{'made' if made.created else 'found'} work item {made.id}: {made.url}")
        return JobResult(
            outputs={"offered": True, "id": made.id, "url": made.url},
            effects=(ConfirmedEffect(_KIND, made.id, made.url),),
            external_ids={"work_item_id": made.id},
        )

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        place = probed_delivery(host, effect, "project_id")
        if place is None:
            return None
        delivery, (project_id,) = place
        found = delivery.find_work_item(effect.tenant_id, project_id, effect_key=effect.effect_key)
        return None if found is None else found.id


def _links(context: JobContext, wanted: str | Sequence[Mapping[str, Any]]) -> tuple[Link, ...]:
    if isinstance(wanted, str):
        return tuple(_of_run(context))
    return tuple(
        Link(one["kind"], one["target"], one.get("repository"), one.get("comment", ""))
        for one in wanted
        if one["target"]
    )


def _of_run(context: JobContext) -> Iterator[Link]:
    """What the run has made so far, and itself. A repository's last commit holds the others."""
    if context.facts.page is not None:
        yield Link("page", context.facts.page, comment=f"run {context.facts.run_id}")
    done = [one for one in context.list_effects() if one.status is EffectStatus.CONFIRMED]
    commits: dict[str, Effect] = {}
    for effect in sorted(done, key=lambda one: one.confirmed_at or one.intended_at):
        repository, reference = effect.facts.get("repository"), effect.reference or ""
        if effect.kind == "commit" and isinstance(repository, str):
            commits[repository] = effect
        elif effect.kind == "pull-request" and isinstance(repository, str):
            yield Link("pull-request", reference, repository, f"by step {effect.step}")
        elif effect.kind.split("-")[0] == "build":
            yield Link("build", reference, comment=f"by step {effect.step}")
    for repository, effect in commits.items():
        yield Link("commit", effect.reference or "", repository, f"by step {effect.step}")
