"""The span of a request: the root of its run's trace. Without tracing this does nothing."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.telemetry.logs import Dimension
from factory_runtime.telemetry.trace_context import root_span_id
from factory_runtime.telemetry.tracing import SpanFacts, tell_span


def about_run(run: Run) -> dict[str, Dimension]:
    """What lines of the log say of who logs while a run is worked on."""
    return {
        "tenantId": run.tenant_id,
        "projectId": run.project_id,
        "runId": run.id,
        "traceId": run.trace_id,
    }


def tell_request(run: Run, at: datetime) -> None:
    """Tell of it, once it is committed: as a part of the request to the API, or of the flow run.

    Args:
        run: as it was accepted or refused.
        at: when it was.
    """
    facts = SpanFacts(
        "request",
        run.trace_id,
        root_span_id(run.id),
        run.requested_at,
        at,
        failed=run.status is RunStatus.FAILED,
        attributes={
            "run_id": run.id,
            "tenant_id": run.tenant_id,
            "project_id": run.project_id,
            "status": run.status.value,
            "undoes": run.undoes,
        },
    )
    tell_span(facts)
