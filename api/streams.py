"""Server-sent events: a run's history as it happens.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.concurrency import run_in_threadpool

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
_LONGEST_SECONDS = 600.0
"""Of one stream: who may read it is looked at when it is asked for, and not again."""
_AT_ONCE = 500


class Streams:
    """Bounds how many there are at once in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    def take(self) -> None:
        """Raises LimitReachedError where there are too many."""
        if self._open >= self._most:
            raise LimitReachedError(f"{self._most} streams of events are open here already")
        self._open += 1
        STREAMS.inc()

    def free(self) -> None:
        self._open -= 1
        STREAMS.dec()


@dataclass
class RunStream:
    """One reader's view of one run.

    Attributes:
        after: the last sequence that they have seen.
    """

    store: RunStore
    reader: Principal
    run_id: str
    after: int
    _progress: dict[str, tuple[float | None, str | None]] = field(
        default_factory=dict[str, tuple[float | None, str | None]]
    )

    async def send(self, streams: Streams, gone: Callable[[], Any]) -> AsyncGenerator[bytes]:
        """What happens, until the run has ended or the reader is gone; frees their place then.

        Where it ends without an ``end``, they have to ask again, and are told why or let in again.
        """
        try:
            silent, until = 0.0, time.monotonic() + _LONGEST_SECONDS
            yield b"retry: 1000\n\n"
            while not await gone():
                if (
                    time.monotonic() > until
                    or (seen := await run_in_threadpool(self._look)) is None
                ):
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
        finally:
            streams.free()

    def _look(self) -> tuple[Run, list[bytes]] | None:
        """None where it is away, or is theirs no more."""
        try:
            with self.store.begin(self.reader.tenant_id, read_only=True) as tx:
                run = visible_run(tx, self.reader, self.run_id)
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
