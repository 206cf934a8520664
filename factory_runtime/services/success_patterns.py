"""What runs that keep succeeding have in common: what is observed of each, and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.memory import Kind, Memory, Observation, ObservationKind
from factory_runtime.domain.memory_text import cut, one_line, spoken
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.success_pattern import (
    Combination,
    SuccessPattern,
    layers_of,
    telling_inputs,
)
from factory_runtime.services.run_history import Cycle, JobEnd
from factory_runtime.services.run_record import RunRecord

_TITLE = 120
_LAYERS_TOLD = 16
_INPUTS_TOLD = 24


def ending_of(record: RunRecord, cycle: Cycle) -> Observation | None:
    """How a run of its combination ended; None of one that was cancelled: it shows neither."""
    if cycle.status is RunStatus.CANCELLED:
        return None
    run = record.run
    schema = record.template.inputs_schema if record.template is not None else None
    combination = Combination(
        run.tenant_id,
        run.template_id,
        telling_inputs(record.given[cycle.number], schema),
        tuple(one_line(name, 80) for name in layers_of(_layers(record, cycle))),
    )
    succeeded = cycle.status is RunStatus.SUCCEEDED
    return Observation(
        tenant_id=run.tenant_id,
        subject=combination.id,
        kind=ObservationKind.ENDED,
        run_id=run.id,
        step="",
        cycle=cycle.number,
        place="",
        at=cycle.at,
        project_id=run.project_id,
        worked=succeeded,
        facts={
            "template": run.template_id,
            "title": one_line(record.template.title if record.template else run.template_id),
            "version": record.template_version(cycle),
            "telling": dict(combination.telling),
            "layers": list(combination.layers),
            "seconds": _seconds(record, cycle) if succeeded else None,
        },
    )


def memory_of_success(pattern: SuccessPattern, now: datetime) -> Memory:
    """What to follow."""
    combination = pattern.combination
    asked = "; ".join(spoken(combination.telling, 60, _INPUTS_TOLD))
    layers = ", ".join(combination.layers[:_LAYERS_TOLD])
    title = f"{pattern.title} keeps succeeding" + (f" with {asked}" if asked else "")
    return Memory(
        id=combination.id,
        tenant_id=combination.tenant_id,
        kind=Kind.SUCCESS,
        title=cut(title, _TITLE),
        text=f"{title}.\nLayers: {layers}.",
        created_at=pattern.first_at,
        project_id=pattern.projects[0] if len(pattern.projects) == 1 else None,
        template_id=combination.template_id,
        template_version=pattern.versions[0] if len(pattern.versions) == 1 else None,
        outcome="succeeded",
        facts=_facts(pattern),
        changed_at=now,
    )


def _facts(pattern: SuccessPattern) -> dict[str, Any]:
    return {
        "inputs": dict(pattern.combination.telling),
        "layers": list(pattern.combination.layers),
        "count": pattern.count,
        "succeeded": pattern.succeeded,
        "rate": round(pattern.rate, 4),
        "mean_seconds": None if pattern.seconds is None else round(pattern.seconds, 3),
        "versions": list(pattern.versions),
        "projects": len(pattern.projects),
        "first_seen": pattern.first_at.isoformat(),
        "last_seen": pattern.last_at.isoformat(),
    }


def _layers(record: RunRecord, cycle: Cycle) -> Iterator[str]:
    """Steps that ran, or would have run had none before them failed; no stand-ins."""
    plan = record.plans[cycle.number]
    stand_ins = {job.name for job in plan.fallbacks} if plan is not None else set[str]()
    ends: dict[str, JobEnd] = {}
    for earlier in record.cycles:
        if earlier.number <= cycle.number:
            ends.update((end.name, end) for end in earlier.ends)
    in_order = plan.by_name if plan is not None else ends
    for name in in_order:
        end = ends.get(name)
        if end is not None and name not in stand_ins and _was_wanted(end):
            yield end.base


def _was_wanted(end: JobEnd) -> bool:
    return end.status is not JobStatus.SKIPPED or end.skip_reason is SkipReason.NEED_FAILED


def _seconds(record: RunRecord, cycle: Cycle) -> float | None:
    """How long a run took that succeeded at once: one that went round again had waited between."""
    started = record.run.started_at
    if started is None or cycle.number > 0:
        return None
    return (cycle.at - started).total_seconds()
