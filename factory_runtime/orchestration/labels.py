"""Labels that travel on a flow run: the one link between Prefect's record and ours."""

from __future__ import annotations

from factory_runtime.domain.run import Run
from factory_runtime.telemetry.tracing import TRACEPARENT_LABEL, traceparent_of

RUN_ID = "factory.run-id"
TENANT_ID = "factory.tenant-id"
TRACE_ID = "factory.trace-id"


def labels_of(run: Run) -> dict[str, str]:
    """The labels of a run's flow run; its span is a part of the request's, where that is traced."""
    labels = {RUN_ID: run.id, TENANT_ID: run.tenant_id, TRACE_ID: run.trace_id}
    parent = traceparent_of(run.trace_id, run.id)
    return labels if parent is None else {**labels, TRACEPARENT_LABEL: parent}


def tags_of(run: Run) -> list[str]:
    """The tags of a run's flow runs: people find them by these, and automations know ours."""
    tags = [f"tenant:{run.tenant_id}", f"project:{run.project_id}"]
    return tags if run.undoes is None else [*tags, f"undoes:{run.undoes}"]
