"""How a run stands, put together from its events as they are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.job_words import SKIPPED, again_words, progress_words, waiting_words
from cli.text import first_line
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run

if TYPE_CHECKING:
    from cli.desk.reading import Reading

POLL = 0.1
"""Seconds between two looks: two indexed queries each."""

PROGRESS = "progress"
"""Kind of the events that a watcher makes of what jobs say on the way; the store has none."""

_PAGE = 1000
_JOBS_EVERY = 1.0
_JOBS_SHARE = 20
"""A look at all jobs takes at most one part in so many of the time."""


@dataclass
class JobLine:
    """What one line of progress says.

    Attributes:
        seconds: how long the last attempt took, once it ended.
        cached: whether its render came from the cache; None where that is not known or there is
            none.
        note: why it was skipped, failed or is tried again, or what it waits for.
        progress: what its type says of how far it is, 0 to 1, with a phrase.
        not_before: when it goes on, or is tried again.
    """

    step: str
    max_attempts: int
    status: str = JobStatus.PENDING.value
    attempt: int = 0
    started_at: datetime | None = None
    seconds: float | None = None
    cached: bool | None = None
    note: str = ""
    progress: float | None = None
    phrase: str | None = None
    not_before: datetime | None = None
    type: str = ""

    def take(self, event: RunEvent) -> None:
        """What an event of this job changes."""
        detail = event.detail
        if event.kind == PROGRESS:
            self.progress, self.phrase = detail.get("progress"), detail.get("phrase")
            self.not_before = detail.get("not_before")
            self.status = event.to_status or self.status
            return
        self.progress = self.phrase = self.not_before = None
        self.status = event.to_status or self.status
        self.attempt = int(detail.get("attempt", self.attempt))
        self.seconds = detail.get("seconds")
        self.cached = detail.get("cached") if self.status == JobStatus.SUCCEEDED else None
        self.note = _reason(self.status, detail)
        self.started_at = event.at if self.status == JobStatus.RUNNING else None

    def news(self, job: Job) -> Mapping[str, Any] | None:
        """What the job's row says that no event does: None where the line says it already."""
        if job.status.value != self.status or job.status not in _SAYS_MORE:
            return None
        said = (job.progress, job.phrase, job.not_before)
        if said == (self.progress, self.phrase, self.not_before) or said == _NOTHING:
            return None
        return dict(zip(("progress", "phrase", "not_before"), said, strict=True))

    def words(self, now: datetime) -> str:
        """What to say beside its status."""
        if self.status == JobStatus.RUNNING:
            return progress_words(self.progress, self.phrase)
        if self.status == JobStatus.WAITING:
            said, for_people = self.phrase or self.note, self.type == "approval"
            return waiting_words(said, self.not_before, now, for_people=for_people)
        if self.status == JobStatus.PENDING:
            return again_words(self.note, self.not_before, now)
        return self.note


_NOTHING = (None, None, None)
_SAYS_MORE = frozenset({JobStatus.RUNNING, JobStatus.WAITING})


class Watcher:
    """Reads what is new about one run.

    Attributes:
        run: as it stood at the last look.
        jobs: likewise, as they stood a moment ago.
        lines: its jobs in plan order.
    """

    def __init__(self, reading: Callable[[], AbstractContextManager[Reading]], run_id: str) -> None:
        """Read the run and its jobs.

        Raises:
            RunNotFoundError: no such run.
        """
        self._reading = reading
        self._sequence = 0
        with reading() as tx:
            self.run: Run = tx.get_run(run_id)
            self.jobs: tuple[Job, ...] = tx.list_jobs(run_id)
        # From the beginning: the events since then say how they stand.
        self.lines: dict[str, JobLine] = {job.step: _new_line(job) for job in self.jobs}
        self._jobs_at = 0.0

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self.run.ended

    def look(self) -> tuple[RunEvent, ...]:
        """The events since the last look, taken into account; then what jobs say on the way."""
        found: list[RunEvent] = []
        with self._reading() as tx:
            self.run = tx.get_run(self.run.id)
            while page := tx.list_events(self.run.id, after=self._sequence, limit=_PAGE):
                found += page
                self._sequence = page[-1].sequence
                if len(page) < _PAGE:
                    break
        for event in found:
            if event.kind == "job" and event.step in self.lines:
                self.lines[event.step].take(event)
        return (*found, *self._progress())

    def _progress(self) -> Iterable[RunEvent]:
        """What is new in the jobs' rows alone, now and then."""
        began = time.monotonic()
        if self.run.ended or began < self._jobs_at:
            return ()
        with self._reading() as tx:
            self.jobs = tx.list_jobs(self.run.id)
        took = time.monotonic() - began
        self._jobs_at = began + max(_JOBS_EVERY, _JOBS_SHARE * took)
        for job in self.jobs:
            line = self.lines[job.step]
            if job.status is JobStatus.PENDING and line.status == JobStatus.PENDING:
                line.not_before = job.not_before
        news = [(job, self.lines[job.step].news(job)) for job in self.jobs]
        made = [self._event(job, detail) for job, detail in news if detail is not None]
        for event in made:
            self.lines[event.step or ""].take(event)
        return made

    def _event(self, job: Job, detail: Mapping[str, Any]) -> RunEvent:
        """An event that stands behind the last one read."""
        return RunEvent(
            tenant_id=job.tenant_id,
            run_id=job.run_id,
            at=datetime.now(UTC),
            kind=PROGRESS,
            step=job.step,
            to_status=job.status,
            detail=detail,
            sequence=self._sequence,
        )


def _new_line(job: Job) -> JobLine:
    return JobLine(job.step, job.max_attempts, type=job.type)


def _reason(status: str, detail: Mapping[str, Any]) -> str:
    reason = first_line(str(detail.get("reason") or ""))
    return SKIPPED.get(reason, reason) if status == JobStatus.SKIPPED else reason
