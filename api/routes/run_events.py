"""A run's history: in parts, or as it happens."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool

from api.access import Reader, authenticate
from api.context import Here
from api.problems import documented
from api.routes.runs import After, Limit, RunId
from api.streams import RunStream, StreamAnswer
from factory_runtime.services.visible import visible_run
from factory_runtime.wire.history import EventAnswer, Spans
from factory_runtime.wire.page import Part

router = APIRouter(prefix="/runs", tags=["runs"])

_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'id: 7\nevent: run\ndata: {"sequence":7,"toStatus":"Succeeded"}\n\n',
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A part of it, or, where that is accepted, a stream.", "content": _STREAM},
    **documented(404, 429),
}


@router.get("/{runId}/events", responses=_RESPONSES, response_model=Part[EventAnswer])
async def get_events(
    run_id: RunId,
    reader: Reader,
    api: Here,
    request: Request,
    after: After = 0,
    limit: Limit = 200,
    last_event_id: Annotated[
        str | None, Header(max_length=20, pattern="^[0-9]*$", description="of a stream, as `after`")
    ] = None,
) -> Part[EventAnswer] | StreamAnswer:
    """A run's history, the oldest first; ``nextCursor`` is the next ``after``.

    With ``Accept: text/event-stream`` all of it, and what follows, until the run has ended: events
    of the kinds ``run``, ``job``, ``log``, … with their sequence as id; ``progress`` of what jobs
    say on the way; and ``end``.
    """
    store = api.runtime.store

    def read() -> Part[EventAnswer]:
        with store.begin(reader.tenant_id, read_only=True) as tx:
            run = visible_run(tx, reader, run_id)
            events = tx.list_events(run_id, after=after, limit=limit)
            spans = Spans.of(run, tx.list_jobs(run_id))
        more = str(events[-1].sequence) if len(events) == limit else None
        return Part(items=tuple(EventAnswer.of(event, spans) for event in events), next_cursor=more)

    first = await run_in_threadpool(read)
    if "text/event-stream" not in request.headers.get("accept", ""):
        return first
    seen = min(int(last_event_id or after), 2**31 - 1)
    stream = RunStream(store, partial(authenticate, request), run_id, seen)
    api.streams.take(reader.tenant_id)
    return StreamAnswer(
        stream.send(request.is_disconnected), partial(api.streams.free, reader.tenant_id)
    )
