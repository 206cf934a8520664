"""A run's plan, read from where it was put when the run was accepted."""

from __future__ import annotations

import json
from typing import Any

from factory_runtime.compiler.plan import plan_from_json, plan_to_json
from factory_runtime.domain.approval import Approval
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    CorruptStoreError,
)
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.run import Run
from factory_runtime.ports import ArtifactStorage


def read_plan(storage: ArtifactStorage, run: Run) -> Plan:
    """The plan that the run goes by.

    Raises:
        CorruptStoreError: it has none, or what is stored is no plan.
        CorruptArtifactError: its body is gone or damaged.
    """
    if run.plan is None or run.plan.reference is None:
        raise CorruptStoreError(f"run {run.id} has no plan")
    try:
        text = storage.read(run.tenant_id, run.plan.reference.digest).decode()
    except ArtifactNotFoundError as error:
        # Not found is what a caller asked for in vain; this was put there when it was accepted.
        raise CorruptArtifactError(f"the plan of run {run.id} is gone: {error}") from error
    return plan_from_json(text)


def approved_plan(storage: ArtifactStorage, approval: Approval) -> Plan:
    """The plan that an approval is bound to, found by its digest.

    Raises:
        FactoryError: its body is gone or damaged.
    """
    return plan_from_json(storage.read(approval.tenant_id, approval.plan_digest).decode())


def record_of(plan: Plan) -> dict[str, Any]:
    """A plan as it is kept."""
    return json.loads(plan_to_json(plan))
