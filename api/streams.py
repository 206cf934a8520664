"""Server-sent events: a run's history as it happens.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from factory_runtime.domain.access import Principal
from factory_runtime.domain.errors import FactoryError, LimitReachedError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from factory_runtime.services.visible import visible_run
from factory_runtime.telemetry.metrics import STREAMS
from factory_runtime.wire.history import EventAnswer, Spans

_LOOK_SECONDS = 0.5
_BEAT_SECONDS = 15.0
"""A comment is sent after so long, or proxies take the connection for dead."""
_AT_ONCE = 500


class Streams:
    """Bounds how many there are at once in this process, and how many of them one tenant has."""

    def __init__(self, most: int, of_tenant: int) -> None:
        self._most = most
        self._of_tenant = of_tenant
        self._open = Counter[str]()

    @property
    def count(self) -> int:
        """How many are open."""
        return self._open.total()

    def take(self, tenant_id: str) -> None:
        """Raises LimitReachedError where there are too many."""
        if self.count >= self._most:
            raise LimitReachedError(f"{self._most} streams of events are open here already")
        if self._open[tenant_id] >= self._of_tenant:
            raise LimitReachedError(f"the tenant has {self._of_tenant} streams of events open here")
        self._open[tenant_id] += 1
        STREAMS.inc()

    def free(self, tenant_id: str) -> None:
        self._open[tenant_id] -= 1
        if not self._open[tenant_id]:
            del self._open[tenant_id]
        STREAMS.dec()


class StreamAnswer(StreamingResponse):
    """Sends a stream; its place is free again however that ends, also before it has begun."""

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes], free: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(chunks, headers=headers)
        self._free = free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._free()


@dataclass
class RunStream:
    """One reader's view of one run.

    Attributes:
        reader: finds out who reads, at every look: a credential is good no longer than it is.
        after: the last sequence that they have seen.
    """

    store: RunStore
    reader: Callable[[], Principal]
    run_id: str
    after: int
    _progress: dict[str, tuple[float | None, str | None]] = field(
        default_factory=dict[str, tuple[float | None, str | None]]
    )

    async def send(self, gone: Callable[[], Any]) -> AsyncGenerator[bytes]:
        """What happens, until the run has ended, or the reader is gone or may read no more.

        Where it ends without an ``end``, they have to ask again, and are told why or let in again.
        """
        silent = 0.0
        yield b"retry: 1000\n\n"
        while not await gone():
            if (seen := await run_in_threadpool(self._look)) is None:
                return
            run, chunks = seen
            for chunk in chunks:
                yield chunk
            if run.ended and not chunks:
                yield _chunk("end", {"status": run.status})
                return
            silent = 0.0 if chunks else silent + _LOOK_SECONDS
            if silent >= _BEAT_SECONDS:
                silent = 0.0
                yield b": still here\n\n"
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self) -> tuple[Run, list[bytes]] | None:
        """None where it is away, or is theirs no more."""
        try:
            reader = self.reader()
            with self.store.begin(reader.tenant_id, read_only=True) as tx:
                run = visible_run(tx, reader, self.run_id)
                events = tx.list_events(self.run_id, after=self.after, limit=_AT_ONCE)
                jobs = tx.list_jobs(self.run_id)
        except FactoryError:
            return None
        if events:
            self.after = events[-1].sequence
        spans = Spans.of(run, jobs)
        told = (_of_event(event, spans) for event in events)
        return run, [*told, *self._of_progress(jobs)]

    def _of_progress(self, jobs: tuple[Job, ...]) -> list[bytes]:
        chunks: list[bytes] = []
        for job in jobs:
            now = (job.progress, job.phrase)
            if now != (None, None) and self._progress.get(job.step) != now:
                self._progress[job.step] = now
                facts = {"step": job.step, "progress": job.progress, "phrase": job.phrase}
                chunks.append(_chunk("progress", facts))
        return chunks


def _of_event(event: RunEvent, spans: Spans) -> bytes:
    facts = EventAnswer.of(event, spans).model_dump(mode="json", by_alias=True)
    return _chunk(event.kind, facts, number=event.sequence)


def _chunk(kind: str, facts: dict[str, Any], number: int | None = None) -> bytes:
    lines = [f"event: {kind}", f"data: {json.dumps(facts, separators=(',', ':'))}"]
    if number is not None:
        lines.insert(0, f"id: {number}")
    return ("\n".join(lines) + "\n\n").encode()
