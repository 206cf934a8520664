"""Runs: one, many, and what each of them has."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TypedDict, Unpack

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.client.events import StreamEvent
from factory_runtime.domain.run import RunStatus
from factory_runtime.wire.bulk import BulkCancel, BulkResult, BulkRetry, Cancel, Change, Count
from factory_runtime.wire.effect import EffectAnswer, Undoing
from factory_runtime.wire.history import ArtifactAnswer, EventAnswer, LogLine
from factory_runtime.wire.job import JobAnswer
from factory_runtime.wire.memory_use import ShownMemoryAnswer
from factory_runtime.wire.page import Part
from factory_runtime.wire.plan import PlanAnswer, PreviewAnswer
from factory_runtime.wire.run import NewRun, RunDetail, RunSummary


class RunChoice(TypedDict, total=False):
    """Which runs are meant; all that is given must hold."""

    status: list[RunStatus]
    project: str | None
    template: str | None
    requester: str | None
    module_id: str | None
    trace_id: str | None
    correlation_id: str | None
    external_id: str | None
    since: datetime | None
    until: datetime | None
    ended_since: datetime | None
    ended_until: datetime | None
    not_since_succeeded: bool | None
    text: str | None
    error: str | None
    can_be_retried: bool | None


def request_run(asked: NewRun, *, idempotency_key: str | None = None) -> Call[RunSummary]:
    """Ask for a run; the same key and body give the same run."""
    key = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
    return Call("POST", "/runs", RunSummary, body=body_of(asked), headers=key)


def preview_run(asked: NewRun) -> Call[PreviewAnswer]:
    """What a run would do; nothing is recorded."""
    return Call("POST", "/runs/preview", PreviewAnswer, body=body_of(asked))


def list_runs(
    *,
    limit: int = 50,
    cursor: str | None = None,
    standing: bool | None = None,
    with_count: bool | None = None,
    **chosen: Unpack[RunChoice],
) -> Call[Part[RunSummary]]:
    """Runs, the newest request first; with why they wait, and how many there are, if asked."""
    more = {"standing": standing, "with_count": with_count}
    query = query_of(limit=limit, cursor=cursor, **more, **chosen)
    return Call("GET", "/runs", Part[RunSummary], query)


def get_run(run_id: str, *, standing: bool | None = None) -> Call[RunDetail]:
    """A run with its inputs and outputs; with why it waits, if asked."""
    return Call("GET", path_of("runs", run_id), RunDetail, query_of(standing=standing))


def list_jobs(run_id: str, *, step: str | None = None) -> Call[Part[JobAnswer]]:
    """A run's jobs with their attempts; or one of them, and more of it."""
    return Call("GET", path_of("runs", run_id, "jobs"), Part[JobAnswer], query_of(step=step))


def list_run_artifacts(run_id: str) -> Call[Part[ArtifactAnswer]]:
    """What a run has made."""
    return Call("GET", path_of("runs", run_id, "artifacts"), Part[ArtifactAnswer])


def list_run_effects(run_id: str) -> Call[Part[EffectAnswer]]:
    """What a run did outside."""
    return Call("GET", path_of("runs", run_id, "effects"), Part[EffectAnswer])


def list_run_memories(run_id: str) -> Call[Part[ShownMemoryAnswer]]:
    """What a run was shown of the memory."""
    return Call("GET", path_of("runs", run_id, "memories"), Part[ShownMemoryAnswer])


def list_events(run_id: str, *, after: int = 0, limit: int = 200) -> Call[Part[EventAnswer]]:
    """A run's history."""
    path = path_of("runs", run_id, "events")
    return Call("GET", path, Part[EventAnswer], query_of(after=after, limit=limit))


def follow_run(run_id: str, *, after: int = 0) -> Call[StreamEvent]:
    """A run's history as it happens; for ``stream``."""
    accept = {"Accept": "text/event-stream"}
    path = path_of("runs", run_id, "events")
    return Call("GET", path, StreamEvent, query_of(after=after), headers=accept)


def list_logs(
    run_id: str, *, step: str | None = None, after: int = 0, limit: int = 1000
) -> Call[Part[LogLine]]:
    """What a run's jobs have said."""
    path = path_of("runs", run_id, "logs")
    return Call("GET", path, Part[LogLine], query_of(step=step, after=after, limit=limit))


def get_plan(run_id: str) -> Call[PlanAnswer]:
    """The plan that a run goes by."""
    return Call("GET", path_of("runs", run_id, "plan"), PlanAnswer)


def cancel_run(run_id: str, *, undo: bool = False) -> Call[RunSummary]:
    """Stop a run for good."""
    path = path_of("runs", run_id, "cancel")
    return Call("POST", path, RunSummary, body=body_of(Cancel(undo=undo)))


def pause_run(run_id: str) -> Call[RunSummary]:
    """Put a run aside."""
    return Call("POST", path_of("runs", run_id, "pause"), RunSummary)


def resume_run(run_id: str) -> Call[RunSummary]:
    """Let a paused run go on."""
    return Call("POST", path_of("runs", run_id, "resume"), RunSummary)


def retry_run(run_id: str, change: Change | None = None) -> Call[RunSummary]:
    """Send a failed run round again."""
    path = path_of("runs", run_id, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def retry_job(run_id: str, step: str, change: Change | None = None) -> Call[RunSummary]:
    """Send one job of a failed run round again."""
    path = path_of("runs", run_id, "jobs", step, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def undo_run(run_id: str) -> Call[Undoing]:
    """Take back what an ended run did."""
    return Call("POST", path_of("runs", run_id, "undo"), Undoing)


def count_to_cancel(**chosen: Unpack[RunChoice]) -> Call[Count]:
    """How many runs a bulk cancel would stop."""
    return Call("GET", "/runs/actions/cancel", Count, query_of(**chosen))


def cancel_runs(asked: BulkCancel, **chosen: Unpack[RunChoice]) -> Call[BulkResult]:
    """Stop all that are chosen."""
    path, query = "/runs/actions/cancel", query_of(**chosen)
    return Call("POST", path, BulkResult, query, body_of(asked), is_repeatable=False)


def count_to_retry(**chosen: Unpack[RunChoice]) -> Call[Count]:
    """How many runs a bulk retry would send round again."""
    return Call("GET", "/runs/actions/retry", Count, query_of(**chosen))


def retry_runs(asked: BulkRetry, **chosen: Unpack[RunChoice]) -> Call[BulkResult]:
    """Send all round again that are chosen."""
    path, query = "/runs/actions/retry", query_of(**chosen)
    return Call("POST", path, BulkResult, query, body_of(asked), is_repeatable=False)
