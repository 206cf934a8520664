"""The plan of a run that undoes another: its jobs in reverse order. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.template import CacheRule

_OPEN = frozenset({EffectStatus.INTENDED, EffectStatus.CONFIRMED})


def compile_undo(plan: Plan, effects: Iterable[Effect]) -> Plan:
    """A job for each job of the plan that has done something outside and names an undo.

    It waits for the undos of all that came after its own job, directly or behind jobs that have
    nothing to undo. What was only intended may have been done: its undo finds out.

    Args:
        plan: of the run to be undone.
        effects: its ledger.
    """
    acted = {effect.step for effect in effects if effect.status in _OPEN}
    undone = frozenset(job.name for job in plan.jobs if job.undo is not None and job.name in acted)
    return Plan(
        template_id=plan.template_id,
        template_version=plan.template_version,
        template_digest=plan.template_digest,
        inputs=plan.inputs,
        jobs=tuple(_jobs(plan, undone)),
    )


def undo_name(name: str) -> str:
    """What the job that undoes this one is called."""
    return f"undo-{name}"


def _jobs(plan: Plan, undone: frozenset[str]) -> Iterable[PlannedJob]:
    # What has to be undone before a job: the undos of those that need it, or, where one of these
    # has none, what has to be undone before that one.
    first: dict[str, dict[str, None]] = {job.name: {} for job in plan.jobs}
    for job in reversed(plan.jobs):
        mine = first.pop(job.name)
        if job.name in undone:
            yield _undoing(job, tuple(mine))
            mine = {undo_name(job.name): None}
        for need in job.needs:
            first[need].update(mine)


def _undoing(job: PlannedJob, needs: tuple[str, ...]) -> PlannedJob:
    return PlannedJob(
        name=undo_name(job.name),
        step=undo_name(job.step),
        type=job.type,
        type_version=job.type_version,
        needs=needs,
        with_={},
        retry=job.retry,
        timeout=job.timeout,
        item=job.item,
        item_key=job.item_key,
        priority=job.priority,
        cache=CacheRule(enabled=False),
        undo=job.undo,
        undo_of=job.name,
    )
