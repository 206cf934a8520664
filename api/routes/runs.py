"""Runs: ask for one, list them, look at one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from api.access import Reader, Requester
from api.context import Here
from api.problems import documented, words_of
from api.query import RunPage, Standing
from api.standing import waits_of, waits_of_many
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.body import Body
from factory_runtime.domain.durations import DURATION_HINT, parse_duration
from factory_runtime.domain.errors import FactoryError, InputError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import Checkpoint, RunEvent
from factory_runtime.domain.run import RunRequest
from factory_runtime.services.bodies import from_body
from factory_runtime.services.request_run import KEYS_OF_OURS, request_run
from factory_runtime.services.visible import visible_run
from factory_runtime.telemetry.tracing import current_trace_id
from factory_runtime.wire.history import ArtifactAnswer, LogLine, Spans
from factory_runtime.wire.job import CheckpointAnswer, JobAnswer, JobMore
from factory_runtime.wire.page import Part
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.run import NewRun, RunDetail, RunSummary

router = APIRouter(prefix="/runs", tags=["runs"])

RunId = Annotated[str, Path(alias="runId", min_length=1, max_length=64)]
Step = Annotated[str, Path(min_length=1, max_length=200)]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="the last sequence that was seen")]
Limit = Annotated[int, Query(ge=1, le=1000)]
_KEY = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=200,
    description="the same key and body give the same run, however often they are sent",
)


_NO_KEYS = (*KEYS_OF_OURS, "project:")
"""Who could use such a key would stand in for the delivery, flow run or other key that has it."""

CALLBACK_SECRET = "Factory-Callback-Secret"  # noqa: S105 - of a header
"""Of an answer to a request with a ``callbackUrl``: what the message to it is signed with."""


@router.post("", status_code=202, responses=documented(409, 429))
def post_run(
    asked: NewRun,
    requester: Requester,
    api: Here,
    response: Response,
    idempotency_key: Annotated[str | None, _KEY] = None,
) -> RunSummary:
    """Ask for a run. It is committed when this answers, and survives whatever happens then."""
    request = request_of(api.runtime, asked, requester)
    if idempotency_key is not None and idempotency_key.startswith(_NO_KEYS):
        raise InputError(
            f"an Idempotency-Key begins with none of {', '.join(_NO_KEYS)}",
            hint="the factory itself makes such ones",
        )
    if asked.callback_url is not None:
        api.runtime.callbacks.check(asked.callback_url)
    run = request_run(api.runtime.desk, replace(request, idempotency_key=idempotency_key))
    if asked.callback_url is not None:
        callbacks, by = api.runtime.callbacks, requester.name
        response.headers[CALLBACK_SECRET] = callbacks.add_of_run(run, by, asked.callback_url)
    response.headers["Location"] = f"{API_PREFIX}/runs/{run.id}"
    return RunSummary.of(run)


@router.get("")
def list_runs(wanted: Annotated[RunPage, Query()], reader: Reader, api: Here) -> Part[RunSummary]:
    """Runs, the newest request first."""
    where = wanted.filter(reader)
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        page = tx.list_runs(where, limit=wanted.limit, cursor=wanted.cursor)
        count = tx.count_runs(where) if wanted.with_count else None
    wanting = page.items if wanted.standing else ()
    waits = waits_of_many(api.runtime, reader, wanting)
    items = tuple(RunSummary.of(run, waits.get(run.id)) for run in page.items)
    return Part(items=items, next_cursor=page.cursor, count=count)


@router.get("/{runId}", responses=documented(404))
def get_run(
    run_id: RunId, reader: Reader, api: Here, standing: Annotated[Standing, Query()] = False
) -> RunDetail:
    """A run, with its inputs and outputs."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        run = visible_run(tx, reader, run_id)
        undoing = tx.find_undoing_run(run_id)
        jobs = tx.list_jobs(run_id) if standing else ()
    waits = waits_of(api.runtime, reader, run, jobs) if standing else None
    summary = RunSummary.of(run, waits)
    return RunDetail(
        **summary.model_dump(),
        inputs=value_of(api.runtime, run.tenant_id, run.inputs),
        outputs=value_of(api.runtime, run.tenant_id, run.outputs),
        undone_by=undoing.id if undoing is not None else None,
    )


@router.get("/{runId}/jobs", responses=documented(404))
def list_jobs(
    run_id: RunId,
    reader: Reader,
    api: Here,
    step: Annotated[
        str | None, Query(max_length=200, description="this one, and more of it")
    ] = None,
) -> Part[JobAnswer]:
    """A run's jobs in the order of its plan, each with its attempts."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        visible_run(tx, reader, run_id)
        jobs, attempts = tx.list_jobs(run_id), tx.list_attempts(run_id, step)
        checkpoint = None if step is None else tx.find_checkpoint(run_id, step)
    if step is not None:
        jobs = tuple(job for job in jobs if job.step == step)
        more = tuple(_more_of(api.runtime, job, attempts, checkpoint) for job in jobs)
        told = (JobAnswer.of(job, attempts, of_it) for job, of_it in zip(jobs, more, strict=True))
        return Part(items=tuple(told))
    of_step = {job.step: tuple(one for one in attempts if one.step == job.step) for job in jobs}
    return Part(items=tuple(JobAnswer.of(job, of_step[job.step]) for job in jobs))


@router.get("/{runId}/artifacts", responses=documented(404))
def list_artifacts(run_id: RunId, reader: Reader, api: Here) -> Part[ArtifactAnswer]:
    """What a run has made, the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        run = visible_run(tx, reader, run_id)
        artifacts = tx.list_artifacts(run_id=run_id, limit=_MANY)
        spans = Spans.of(run, tx.list_jobs(run_id))
    return Part(items=tuple(ArtifactAnswer.of(artifact, spans) for artifact in artifacts))


@router.get("/{runId}/logs", responses=documented(404))
def list_logs(
    run_id: RunId,
    reader: Reader,
    api: Here,
    step: Annotated[str | None, Query(max_length=200)] = None,
    after: After = 0,
    limit: Limit = 200,
) -> Part[LogLine]:
    """What a run's jobs have said, the oldest first; ``nextCursor`` is the next ``after``."""
    events, spans = _events(api.runtime, reader, run_id, after, limit)
    lines = (event for event in events if event.kind == "log" and step in (None, event.step))
    more = str(events[-1].sequence) if len(events) == limit else None
    return Part(items=tuple(LogLine.of(line, spans) for line in lines), next_cursor=more)


def request_of(runtime: Runtime, asked: NewRun, requester: Principal) -> RunRequest:
    """What is asked for, as the core has it.

    Raises:
        ForbiddenError: they may not ask for runs in this project.
        InputError: the deadline is none.
    """
    project_id = asked.project_id or runtime.settings.project
    requester.require(Right.REQUEST, project_id)
    return RunRequest(
        tenant_id=requester.tenant_id,
        project_id=project_id,
        template=asked.template_recipe_id,
        inputs=asked.inputs,
        requested_by=requester.name,
        version=asked.template_version,
        module_id=asked.module_id,
        priority=asked.priority,
        deadline=None if asked.deadline is None else _duration(asked.deadline),
        trace_id=current_trace_id(),
        correlation_id=asked.correlation_id,
        metadata=asked.metadata,
        drawn_from=asked.drawn_from,
    )


def _more_of(
    runtime: Runtime, job: Job, attempts: Sequence[Attempt], checkpoint: Checkpoint | None
) -> JobMore:
    """What its job gave, where it would go on, and what went wrong last."""
    tenant_id = job.tenant_id
    failed = [attempt.traceback for attempt in attempts if attempt.traceback is not None]
    state = None if checkpoint is None else value_of(runtime, tenant_id, checkpoint.state)
    return JobMore(
        outputs=value_of(runtime, tenant_id, job.outputs),
        checkpoint=None if checkpoint is None else CheckpointAnswer.of(checkpoint, state),
        traceback=str(value_of(runtime, tenant_id, failed[-1])) if failed else None,
    )


def _events(
    runtime: Runtime, reader: Reader, run_id: str, after: int, limit: int
) -> tuple[tuple[RunEvent, ...], Spans]:
    with runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        run = visible_run(tx, reader, run_id)
        events = tx.list_events(run_id, after=after, limit=limit)
        return events, Spans.of(run, tx.list_jobs(run_id))


def _duration(text: str) -> Any:
    length = parse_duration(text)
    if length is None:
        raise InputError(f"{text!r} is no duration", hint=DURATION_HINT)
    return length


def value_of(runtime: Runtime, tenant_id: str, body: Body | None) -> Any:
    """What a body holds; one that cannot be read says so."""
    try:
        return from_body(runtime.storage, tenant_id, body)
    except FactoryError as error:
        return {"unreadable": words_of(error)}


_MANY = 10_000
