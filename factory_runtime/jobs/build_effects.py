"""What a pipeline and its builds are found by, and how a build is ended: by the ledger's effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.errors import NotFoundError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, Undone
from factory_runtime.jobs.delivering import offered_by_host, probed_delivery
from factory_runtime.ports import BuildStatus, Delivery, GitHost, JobContext

CANCEL_BUILD = "cancel-build"


def build_key(effect_key: str, number: int) -> str:
    """Of the nth build of a job, where the host keeps it."""
    return f"{effect_key}#{number}"


def cancel_builds(context: JobContext, effects: tuple[Effect, ...]) -> JobResult:
    """Take back what a job has done, as far as it is a build that goes on."""
    delivery = offered_by_host(context)
    undone: list[Undone] = []
    made: dict[str, ConfirmedEffect] = {}
    for effect in effects:
        if effect.kind.startswith("stop-"):
            undone.append(Undone(effect.kind, note="what has ended stays so"))
        elif not effect.kind.startswith("build") or effect.reference is None:
            undone.append(Undone(effect.kind, left=f"{CANCEL_BUILD} ends builds alone"))
        elif delivery is None:
            undone.append(Undone(effect.kind, left="the host offers no pipelines any more"))
        else:
            undone.append(_cancel(context, delivery, effect, effect.reference))
            made[effect.kind] = ConfirmedEffect(f"undo-{effect.kind}", effect.reference)
    return JobResult(effects=tuple(made.values()), undone=tuple(undone))


def _cancel(context: JobContext, delivery: Delivery, effect: Effect, build_id: str) -> Undone:
    tenant_id, project_id = context.facts.tenant_id, str(effect.facts.get("project_id"))
    probed_by = {"project_id": project_id, "build_id": build_id}
    context.intend(f"undo-{effect.kind}", f"end of {effect.target}", probed_by)
    try:
        build = delivery.get_build(tenant_id, project_id, build_id)
    except NotFoundError:
        return Undone(effect.kind, note="gone already")
    if build.status is BuildStatus.ENDED:
        return Undone(effect.kind, note=f"it had ended: {build.result}")
    context.check_lease()
    delivery.cancel_build(tenant_id, project_id, build_id)
    context.log(f"cancelled build {build.number}")
    return Undone(effect.kind, note="cancelled")


def probe_pipeline(host: GitHost, effect: Effect) -> str | None:
    """Its id, where there is one of this effect."""
    place = probed_delivery(host, effect, "project_id", "name")
    if place is None:
        return None
    delivery, (project_id, name) = place
    found = delivery.find_pipeline(effect.tenant_id, project_id, name, effect_key=effect.effect_key)
    return None if found is None else found.id


def probe_build(host: GitHost, effect: Effect) -> str | None:
    """Its id, where there is one of this effect."""
    place = probed_delivery(host, effect, "project_id", "pipeline_id", "number")
    if place is None:
        return None
    delivery, (project_id, pipeline_id, number) = place
    found = delivery.find_build(
        effect.tenant_id,
        project_id,
        pipeline_id,
        effect_key=build_key(effect.effect_key, int(number)),
        since=effect.intended_at,
    )
    return None if found is None else found.id


def build_under_way(host: GitHost, effect: Effect) -> Mapping[str, Any] | None:
    """Where its end is seen; None where it has ended, or does not carry our key (any more)."""
    if not effect.kind.startswith("build"):
        return None  # nothing of it goes on, whether the host can be asked or not
    place = probed_delivery(host, effect, "project_id", "pipeline_id", "number")
    if place is None:
        return None
    delivery, (project_id, pipeline_id, number) = place
    key = build_key(effect.effect_key, int(number))
    found = delivery.find_build(effect.tenant_id, project_id, pipeline_id, effect_key=key)
    if found is None or found.id != effect.reference or found.status is BuildStatus.ENDED:
        return None
    return {"project_id": project_id, "build_id": found.id}


def stop_build(host: GitHost, effect: Effect) -> None:
    """Cancel it; one that has ended stays as it is."""
    place = probed_delivery(host, effect, "project_id")
    if place is not None and effect.reference is not None:
        delivery, (project_id,) = place
        delivery.cancel_build(effect.tenant_id, project_id, effect.reference)


def probe_end(host: GitHost, effect: Effect) -> str | None:
    """Of an end that is to come, of an undo or a cancel: the build, once it has ended."""
    place = probed_delivery(host, effect, "project_id", "build_id")
    if place is None:
        return None
    delivery, (project_id, build_id) = place
    try:
        build = delivery.get_build(effect.tenant_id, project_id, build_id)
    except NotFoundError:
        return build_id
    return build_id if build.status is BuildStatus.ENDED else None
