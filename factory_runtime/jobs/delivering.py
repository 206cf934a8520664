"""What the job types share that use what a host offers beside repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.repository import check_repository_name
from factory_runtime.domain.result import JobResult
from factory_runtime.ports import Delivery, GitHost, JobContext

LINE_SCHEMA: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 250}
TEXT_SCHEMA: Mapping[str, Any] = {"type": "string", "maxLength": 4000}


def offered_by_host(context: JobContext) -> Delivery | None:
    """What the host offers this tenant; None, and a line for people, where that is nothing."""
    delivery = context.host.delivery_of(context.facts.tenant_id)
    if delivery is None:
        context.log("nothing to do: the tenant's git host has repositories alone")
    return delivery


def check_ours(context: JobContext, repository: str) -> None:
    """Raises InputError: the factory has not made it. What others have made is theirs to build."""
    facts, name = context.facts, check_repository_name(repository)
    if context.host.find_repository(facts.tenant_id, facts.project_id, name) is None:
        raise InputError(
            f"the factory has made no repository {facts.project_id}/{name}",
            hint="name one that a run of this project has made",
        )


def not_offered(*outputs: str) -> JobResult:
    """The result where the host offers nothing: it has all the outputs, and none is anything."""
    return JobResult({"offered": False, **dict.fromkeys(outputs)})


def probed_delivery(
    host: GitHost, effect: Effect, *names: str
) -> tuple[Delivery, tuple[str, ...]] | None:
    """Where to look for an effect, and the facts of these names; None where nobody can look."""
    delivery = host.delivery_of(effect.tenant_id)
    facts = tuple(effect.facts[name] for name in names if isinstance(effect.facts.get(name), str))
    return (delivery, facts) if delivery is not None and len(facts) == len(names) else None


def named_of(context: JobContext) -> str:
    """Where something comes from, in a sentence for people."""
    facts = context.facts
    return (
        f"Step {facts.step} of run {facts.run_id}, of template {facts.template_id},"
        f" version {facts.template_version}, asked for by {facts.requested_by}."
    )
