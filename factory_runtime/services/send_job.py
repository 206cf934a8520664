"""Jobs of a routed type: the walk of their run sends them to another queue, and hears of them again.

A job that was sent is Waiting: it holds no process and no lease. A message in the outbox has a flow
run made for it there, whose id is written on the job before any worker may begin it; whoever begins
that flow run claims the job (``routed_job``). When it is through with it, however it went, the job's
row says so, and the run is told. Only the walk of the run sends its jobs, and only it closes the run.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction
from factory_runtime.services import topic_slots
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.engine import Engine, Walk, hold_walk, learn
from factory_runtime.services.outbox import leave
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import LOSSES, fail_of_losses
from factory_runtime.services.topic_line import TopicCaps
from factory_runtime.services.topics import SEND_JOB
from factory_runtime.services.wake_run import wake_run

LOOK_AFTER = timedelta(minutes=10)
"""When the walk of the run looks after a job that nobody has claimed: by then its type may go
elsewhere, and its flow run may have got lost without a word."""


def send_or_find(engine: Engine, walk: Walk, name: str) -> AnotherAttempt | Ending | None:
    """Send a job whose type is routed; or find how one stands that was sent. None: claim it here.

    What is sent already stays where it is until ``LOOK_AFTER``, whatever this process's routes say.

    Raises:
        LeaseLostError: another process has the run by now.
    """
    job = walk.jobs[name]
    place = engine.routes.get(job.type)
    if walk.routed is not None or (place is None and job.routed_to is None):
        return None
    now = engine.clock.now()
    try:
        caps = topic_slots.find_caps(engine, walk.run.tenant_id, job.type, now)
    except PolicyUnavailableError as error:
        return topic_slots.unreadable(engine, error)

    def write(again: bool) -> Job | AnotherAttempt:
        del again  # one that was sent a moment ago stays so
        with engine.store.begin(walk.run.tenant_id, durable=False) as tx:
            run = tx.lock_run(walk.run.id)
            hold_walk(engine, tx, walk)
            return _decide(tx, run, tx.get_job(run.id, name), place, caps, now)

    found = steadily(write, engine.lease)
    if isinstance(found, AnotherAttempt):
        return found
    learn(engine, walk, found)
    return walk.endings[name] if found.ended else comes_back(found, now)


def _decide(
    tx: RunTransaction,
    run: Run,
    job: Job,
    place: str | None,
    caps: TopicCaps | None,
    now: datetime,
) -> Job | AnotherAttempt:
    """The job as it then stands; or when it is its turn to be sent."""
    is_new = job.routed_to is None
    due = job.not_before is None or job.not_before <= now
    if job.ended or job.status is JobStatus.RUNNING or not (is_new or due):
        return job
    if place is None:
        return hand_back(tx, job, now)
    if is_new and caps is not None:
        turn = topic_slots.ask(tx, run, job, caps, now)
        if isinstance(turn, AnotherAttempt):
            return turn
        turn.keep()
    return send(tx, job, place, now)


def comes_back(job: Job, now: datetime) -> AnotherAttempt | None:
    """When the walk of the run looks after a job again; None where it goes on with it at once."""
    if job.status is JobStatus.RUNNING and job.routed_to is not None:
        return AnotherAttempt(now + LOOK_AFTER, Outcome.WAITING, f"at work in {job.routed_to}")
    if job.not_before is None or job.not_before <= now:
        return None
    return AnotherAttempt(job.not_before, Outcome.WAITING, job.phrase or "")


def hear(engine: Engine, walk: Walk, names: Collection[str]) -> dict[str, AnotherAttempt | None]:
    """What has become of jobs that were sent elsewhere: when those that moved go on, by name.

    Raises:
        CorruptArtifactError: what one of them gave is gone or damaged.
    """
    with engine.store.begin(walk.run.tenant_id, read_only=True) as tx:
        jobs = tx.list_jobs(walk.run.id)
    moved = [j for j in jobs if j.step in names and j.version > walk.jobs[j.step].version]
    for job in moved:
        learn(engine, walk, job)
    now = engine.clock.now()
    # The walk may have moved one itself since they were read: it knows how that goes on.
    news = [job for job in moved if walk.jobs[job.step] is job]
    return {job.step: None if job.ended else comes_back(job, now) for job in news}


def send(
    tx: RunTransaction,
    job: Job,
    place: str,
    now: datetime,
    after: timedelta = timedelta(0),
    **changes: Any,
) -> Job:
    """Have a flow run made for a job that is Pending or Waiting. Hold the run's row.

    Where one was made before that still stands in its queue, it is that one.
    """
    changes |= {
        "routed_to": place,
        "routed_flow_run_id": None,
        "not_before": now + after + LOOK_AFTER,
        "phrase": f"waits for a worker of {place}",
    }
    if job.status is JobStatus.PENDING:
        sent = job.move_to(JobStatus.WAITING, now, **changes)
    else:
        sent = job.changed(now, **changes)
    tx.save_job(job, sent, detail={"routed_to": place})
    asked = {
        "run_id": job.run_id,
        "step": job.step,
        "version": sent.version,
        "instead_of": job.routed_flow_run_id if job.routed_to == place else None,
    }
    leave(tx, SEND_JOB, f"{job.run_id}:{job.step}:{sent.version}", asked, now, after)
    return sent


def hand_back(tx: RunTransaction, job: Job, now: datetime, due: datetime | None = None) -> Job:
    """A job that was sent and not claimed is for the walk of its run again. Hold the run's row."""
    free = {"routed_to": None, "routed_flow_run_id": None, "phrase": None}
    back = job.changed(now, not_before=due or now, **free)
    tx.save_job(job, back)
    return back


def call_off(tx: RunTransaction, run: Run, now: datetime) -> Run:
    """The run is to be undone: what was sent, and not claimed, is Skipped; the run as it then stands.

    Its undo would wait for workers, who would begin what nobody wants any more. Hold the run's row.
    """
    waiting = [job for job in tx.list_jobs(run.id) if job.status is JobStatus.WAITING]
    sent = [job for job in waiting if job.routed_to is not None and not job.is_under_way]
    reason = SkipReason.NEED_FAILED
    for job in sent:
        free = {"skip_reason": reason, "not_before": None, "phrase": None}
        tx.save_job(
            job, job.move_to(JobStatus.SKIPPED, now, **free), detail={"reason": reason.value}
        )
        tx.drop_topic_waits(run.id, job.step)
    return wake_run(tx, run, now, now) if sent else run


def lose(tx: RunTransaction, run: Run, job: Job, now: datetime) -> None:
    """The flow run that was made for a waiting job is over, or gone, and nobody has claimed the job.

    It counts as a worker that was lost; another one is made after a growing while. Hold the run's row.
    """
    if job.losses + 1 < LOSSES:
        wait = timedelta(seconds=2 ** (job.losses + 1))
        send(tx, job, str(job.routed_to), now, wait, losses=job.losses + 1)
        return
    fail_of_losses(tx, job, now)
    wake_run(tx, tx.get_run(run.id), now, now)
