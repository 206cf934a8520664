"""Find open runs in which nothing happens any more, and tell people of each once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.notice import Notice, NoticeKind, Severity
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, RunKey, RunStore, RunTransaction
from factory_runtime.services.commands import for_tenant
from factory_runtime.services.locks import find_walker
from factory_runtime.services.messages import GIVEN_UP, leave_notice
from factory_runtime.services.turns import LimitsOf, SeenLine, no_limits, turns

_NAMED = 5
_PHRASE = 200

_LOG = logging.getLogger("factory.sweep")


def tell_stuck(
    store: RunStore, clock: Clock, quiet: timedelta, cap: int, limits_of: LimitsOf = no_limits
) -> int:
    """Leave a notice of each run that stands still and should not; how many there are.

    Those that people were told of before are counted, and not told of again.

    Looked at are runs with a slot, and those that the slots that are free are for. A run is stuck
    when nothing has happened in it for so long: no event, no change, no heartbeat of a job, no look
    of one for its turn, and nothing was due. That somebody could not be told of it is no event. One that is paused, that its tenant's limits hold
    back, or that waits for a person or a time to come, is not.

    Args:
        store: the record.
        clock: for the times.
        quiet: how long nothing has to have happened.
        cap: how many runs may have a slot at once.
        limits_of: a tenant's.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    found, now = 0, clock.now()
    for key in _looked_at(store, now, cap, limits_of):
        try:
            found += _tell_if_stuck(store, key, now, quiet)
        except PermanentError:
            _LOG.exception("%s cannot be looked at", key)
    return found


def _looked_at(store: RunStore, now: datetime, cap: int, limits_of: LimitsOf) -> Iterator[RunKey]:
    running = store.running_runs()
    yield from running
    if len(running) < cap:
        next_ones = turns(SeenLine(store, now), now, limits_of)
        yield from (waiting.key for waiting in islice(next_ones, cap - len(running)))


def _tell_if_stuck(store: RunStore, key: RunKey, now: datetime, quiet: timedelta) -> bool:
    with store.begin(key.tenant_id, read_only=True) as tx:
        run = tx.get_run(key.run_id)
        if run.ended or run.status is RunStatus.PAUSED or now - run.updated_at < quiet:
            return False
        jobs, last = tx.list_jobs(run.id), tx.find_last_event(run.id, besides=[GIVEN_UP])
        walker = find_walker(tx, run.id, now)
        turn = _last_look(tx, jobs)
    since = last_sign(run, jobs, last, turn)
    if now - since < quiet:
        return False
    with store.begin(key.tenant_id) as tx:
        leave_notice(tx, stuck_notice(run, jobs, last, since, now, walker))
    return True


def _last_look(tx: RunTransaction, jobs: Sequence[Job]) -> datetime | None:
    """When a job that could begin last looked whether its type has room for it."""
    ended = {job.step for job in jobs if job.ended}
    ready = [j for j in jobs if j.status is JobStatus.PENDING and ended.issuperset(j.needs)]
    waits = (tx.find_topic_wait(job.run_id, job.step) for job in ready)
    return max((wait.seen_at for wait in waits if wait is not None), default=None)


def last_sign(
    run: Run, jobs: Sequence[Job], last: RunEvent | None, look: datetime | None = None
) -> datetime:
    """When something last happened in an open run, or was or is due in it."""
    signs = [run.updated_at, run.wake_at, last and last.at, look]
    for job in jobs:
        if not job.ended:
            # A heartbeat moves the end of the lease, and nothing else.
            signs += [job.updated_at, job.not_before, job.lease_expires_at]
    return max(sign for sign in signs if sign is not None)


def stuck_notice(
    run: Run,
    jobs: Sequence[Job],
    last: RunEvent | None,
    since: datetime,
    now: datetime,
    walker: str | None,
) -> Notice:
    """The same standstill gives the same notice."""
    sequence = last.sequence if last is not None else 0
    minutes = int((now - since).total_seconds() // 60)
    return Notice(
        tenant_id=run.tenant_id,
        kind=NoticeKind.RUN_STUCK,
        key=f"run-stuck:{run.id}:{sequence}",
        title=f"{run.template_id} {run.id} is {run.status}, and nothing happened for {minutes} min",
        body="\n".join(_lines(run, jobs, walker)),
        at=now,
        severity=Severity.WARNING,
        run_id=run.id,
        facts={"status": run.status.value, "minutes": minutes, "sequence": sequence},
    )


def _lines(run: Run, jobs: Sequence[Job], walker: str | None) -> Iterator[str]:
    if run.admitted_at is None:
        yield "It wants a slot, and slots are free: nobody takes it up."
        yield "`factory doctor` tells what is amiss; `factory up` starts what executes runs."
    elif walker is None:
        yield "The process that executed it is gone, and nobody has taken it up."
    else:
        yield f"It is in the hands of {walker}."
    open_jobs = [job for job in jobs if not job.ended]
    at_work = [job for job in open_jobs if job.status is not JobStatus.PENDING] or open_jobs
    yield from (_told(job) for job in at_work[:_NAMED])
    if len(at_work) > _NAMED:
        yield f"and {len(at_work) - _NAMED} more jobs"
    yield "What you can do:"
    for command in ("show", "cancel"):
        yield "  " + for_tenant(f"factory runs {command} {run.id}", run.tenant_id)


def _told(job: Job) -> str:
    phrase = " ".join(redact_text(job.phrase or "").split())[:_PHRASE]
    return f"{job.step} is {job.status}" + (f": {phrase}" if phrase else "")
