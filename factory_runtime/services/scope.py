"""What the expressions of a run and of its jobs see."""

from __future__ import annotations

from typing import Any

from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import StepOutputs
from factory_runtime.services.engine import Walk


def run_scope(walk: Walk) -> dict[str, Any]:
    """Inputs, what steps gave so far, and facts of the run."""
    return {
        "inputs": walk.inputs,
        "steps": StepOutputs(walk.plan, walk.outputs),
        "run": walk.run_facts(),
    }


def job_scope(walk: Walk, planned: PlannedJob) -> dict[str, Any]:
    """That, and the item where the job is one of many."""
    scope = run_scope(walk)
    return scope if planned.item_key is None else {**scope, "item": planned.item}
