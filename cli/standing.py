"""Why a run stands where it does: what it was asked, what it waits for, its place in the queue."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cli.door import Door
from cli.text import moment, one_line, ordinal
from deployments.stack import find_stack
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunKey

NOBODY = "nothing executes it here: `factory up` does"

_MANY = 1000
_LOOK_EVERY = 1.0


def standing(door: Door, run: Run, jobs: Iterable[Job] = ()) -> str:
    """What keeps an open run from going on; nothing where it is under way or has ended.

    Args:
        door: the command's.
        run: which.
        jobs: of the run: what they wait for is told.
    """
    if run.ended:
        return ""
    if run.cancel_requested_at is not None:
        return "asked to stop"
    if run.status is RunStatus.PAUSED:
        return f"`factory runs resume {run.id}` lets it go on"
    if run.pause_requested_at is not None:
        if is_held(run):
            return f"held in the queue: `factory runs resume {run.id}` lets it go on"
        return "asked to pause, once its jobs under way have finished"
    if run.admitted_at is not None:
        return ""
    now = door.runtime.clock.now()
    if run.status is RunStatus.WAITING and run.wake_at is not None and run.wake_at > now:
        phrases = dict.fromkeys(
            one_line(job.phrase) for job in jobs if job.status is JobStatus.WAITING and job.phrase
        )
        reason = f": {'; '.join(phrases)}" if phrases else ""
        return f"goes on at {moment(run.wake_at, now)}{reason}"
    return _in_queue(door, run)


def is_held(run: Run) -> bool:
    """Whether the run was put aside before anybody began it: it keeps its place in the queue."""
    waits = run.status in (RunStatus.REQUESTED, RunStatus.VALIDATED, RunStatus.QUEUED)
    return waits and run.admitted_at is None and run.pause_requested_at is not None


def is_executed(door: Door) -> bool:
    """Whether a stack of this home is up, or coming up."""
    return find_stack(door.settings) is not None


def whole_standing(door: Door, run: Run, jobs: Iterable[Job] = ()) -> str:
    """The standing, and whether nobody is there to change it."""
    words = standing(door, run, jobs)
    stays = run.ended or run.status is RunStatus.PAUSED or is_held(run)
    lost = "" if stays or is_executed(door) else NOBODY
    return "; ".join(part for part in (words, lost) if part)


class Standing:
    """The same, now and then, for those who watch."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._next = 0.0

    def look(self, run: Run, jobs: Iterable[Job]) -> str | None:
        """The words; None where a look was only just taken."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_EVERY
        return whole_standing(self._door, run, jobs)


def _in_queue(door: Door, run: Run) -> str:
    store, cap = door.runtime.store, door.settings.max_running_runs
    taken = len(store.running_runs())
    if taken < cap:
        return ""
    waits = f"waits for a slot ({taken} of {cap} taken)"
    queue = store.waiting_runs(door.runtime.clock.now(), limit=_MANY)
    key = RunKey(run.tenant_id, run.id)
    if key in queue:
        return f"{waits}, {ordinal(queue.index(key) + 1)} in the queue"
    return f"{waits}, more than {_MANY} before it" if len(queue) == _MANY else waits
