"""How a run stands, put together from the stream of events that a Factory API sends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from cli.desk import from_wire
from cli.desk.reading import Reading
from cli.watching import PROGRESS, Watcher
from factory_runtime.client import FactoryClient, StreamEvent, UnreadableAnswerError, calls
from factory_runtime.domain.records import RunEvent
from factory_runtime.wire.history import EventAnswer

_MOVES_RUN = frozenset({"run", "request"})


class StreamWatcher(Watcher):
    """Listens on a thread of its own, so that Ctrl-C is taken at once."""

    def __init__(
        self,
        client: FactoryClient,
        reading: Callable[[], AbstractContextManager[Reading]],
        run_id: str,
    ) -> None:
        """Read the run and its jobs, and begin to listen.

        Raises:
            RunNotFoundError: no such run.
        """
        super().__init__(reading, run_id)
        self._client = client
        self._over = False
        self._heard = queue.SimpleQueue[StreamEvent | Exception]()
        # A daemon: it may be waiting for the server when the command ends.
        threading.Thread(target=self._listen, name="events", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the stream has said so: until then, what it tells is behind the run."""
        return self._over

    def look(self) -> tuple[RunEvent, ...]:
        """What was heard since the last look, taken into account.

        Raises:
            FactoryError: the server is away for too long, or refuses.
        """
        found: list[RunEvent] = []
        while not self._heard.empty():
            heard = self._heard.get()
            if isinstance(heard, Exception):
                raise heard
            if heard.kind == "end" or heard.kind in _MOVES_RUN:
                self._read_run()
            if heard.kind == "end":
                self._over = True
            else:
                found.append(self._event_of(heard))
        for event in found:
            if event.kind in ("job", PROGRESS) and event.step in self.lines:
                self.lines[event.step].take(event)
        return tuple(found)

    def _listen(self) -> None:
        try:
            for event in self._client.stream(calls.follow_run(self.run.id)):
                self._heard.put(event)
        except Exception as error:  # told by whoever looks next, whatever it is
            self._heard.put(error)

    def _event_of(self, heard: StreamEvent) -> RunEvent:
        if heard.kind == PROGRESS:
            return self._made(heard.data)
        try:
            answer = EventAnswer.model_validate(heard.data)
        except ValidationError as error:
            raise UnreadableAnswerError(f"an event of run {self.run.id} cannot be read") from error
        event = from_wire.event_of(answer, self.run.tenant_id, self.run.id)
        self._sequence = event.sequence
        return event

    def _made(self, data: Mapping[str, Any]) -> RunEvent:
        """What a job says on the way, behind the last event."""
        step = str(data.get("step"))
        line = self.lines.get(step)
        return RunEvent(
            tenant_id=self.run.tenant_id,
            run_id=self.run.id,
            at=datetime.now(UTC),
            kind=PROGRESS,
            step=step,
            to_status=None if line is None else line.status,
            detail={"progress": data.get("progress"), "phrase": data.get("phrase")},
            sequence=self._sequence,
        )

    def _read_run(self) -> None:
        with self._reading() as tx:
            self.run = tx.get_run(self.run.id)
