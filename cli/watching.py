"""How a run stands, put together from its events as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.text import first_line
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore

POLL = 0.1
"""Seconds between two looks: two indexed queries each."""

_PAGE = 1000
_SKIPPED: Mapping[str, str] = {
    SkipReason.CONDITION: "its condition is false",
    SkipReason.NEED_FAILED: "a job it needs failed",
    SkipReason.FALLBACK_NOT_NEEDED: "nothing failed that it stands in for",
}


@dataclass
class JobLine:
    """What one line of progress says.

    Attributes:
        seconds: how long the last attempt took, once it ended.
        cached: whether its render came from the cache; None where that is not known or there is
            none.
        note: why it was skipped, failed or is tried again.
    """

    step: str
    max_attempts: int
    status: str = JobStatus.PENDING.value
    attempt: int = 0
    started_at: datetime | None = None
    seconds: float | None = None
    cached: bool | None = None
    note: str = ""

    def take(self, event: RunEvent) -> None:
        """What an event of this job changes."""
        detail = event.detail
        self.status = event.to_status or self.status
        self.attempt = int(detail.get("attempt", self.attempt))
        self.seconds = detail.get("seconds")
        self.cached = detail.get("cached") if self.status == JobStatus.SUCCEEDED else None
        self.note = _reason(self.status, detail)
        self.started_at = event.at if self.status == JobStatus.RUNNING else None


class Watcher:
    """Reads what is new about one run.

    Attributes:
        run: as it stood at the last look.
        lines: its jobs in plan order.
    """

    def __init__(self, store: RunStore, tenant_id: str, run_id: str) -> None:
        """Read the run and its jobs.

        Raises:
            RunNotFoundError: no such run.
        """
        self._store = store
        self._tenant_id = tenant_id
        self._sequence = 0
        with store.begin(tenant_id, read_only=True) as tx:
            self.run: Run = tx.get_run(run_id)
            jobs = tx.list_jobs(run_id)
        # From the beginning: the events since then say how they stand.
        self.lines: dict[str, JobLine] = {job.step: _new_line(job) for job in jobs}

    def look(self) -> tuple[RunEvent, ...]:
        """The events since the last look, taken into account."""
        found: list[RunEvent] = []
        with self._store.begin(self._tenant_id, read_only=True) as tx:
            self.run = tx.get_run(self.run.id)
            while page := tx.list_events(self.run.id, after=self._sequence, limit=_PAGE):
                found += page
                self._sequence = page[-1].sequence
                if len(page) < _PAGE:
                    break
        for event in found:
            if event.kind == "job" and event.step in self.lines:
                self.lines[event.step].take(event)
        return tuple(found)


def _new_line(job: Job) -> JobLine:
    return JobLine(job.step, job.max_attempts)


def _reason(status: str, detail: Mapping[str, Any]) -> str:
    reason = first_line(str(detail.get("reason") or ""))
    if status == JobStatus.SKIPPED:
        return _SKIPPED.get(reason, reason)
    return f"tried again: {reason}" if status == JobStatus.PENDING and reason else reason
