"""The page of one job: how it stands and why, its attempts, its checkpoint, its effects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.as_json import to_json, without
from cli.door import Door
from cli.job_words import progress_words, why_words
from cli.run_page import show_attempts, show_effects
from cli.standing import whole_standing
from cli.text import local_time, moment
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Checkpoint, Effect
from factory_runtime.domain.run import Run
from factory_runtime.services.take_back import LOSSES

_MANY = 10_000


@dataclass(frozen=True)
class JobFacts:
    """One job with all that belongs to it.

    Attributes:
        needs: the jobs it waits for.
        why: why it stands where it does, in words.
        traceback: of its last attempt that failed, or None.
    """

    run: Run
    job: Job
    needs: tuple[Job, ...]
    why: str
    outputs: Any
    attempts: tuple[Attempt, ...]
    effects: tuple[Effect, ...]
    checkpoint: Checkpoint | None
    state: Any
    traceback: str | None


def read_job(door: Door, run_id: str, step: str) -> JobFacts:
    """Read a job and all that belongs to it.

    Raises:
        NotFoundError: no such run, or no such job in it.
    """
    with door.desk.reading() as tx:
        run, job = tx.get_run(run_id), tx.get_job(run_id, step)
        jobs = tx.list_jobs(run_id)
        attempts = tx.list_attempts(run_id, step)
        effects = tx.list_effects(run_id=run_id, limit=_MANY)
        checkpoint = tx.find_checkpoint(run_id, step)
    words = whole_standing(door, run, jobs)
    return JobFacts(
        run=run,
        job=job,
        needs=tuple(other for other in jobs if other.step in job.needs),
        why=_why(door, job, jobs, words),
        outputs=door.desk.value_of(job.outputs),
        attempts=attempts,
        effects=tuple(effect for effect in effects if effect.step == step),
        checkpoint=checkpoint,
        state=door.desk.value_of(checkpoint.state) if checkpoint is not None else None,
        traceback=_traceback(door, attempts),
    )


def job_as_json(facts: JobFacts) -> dict[str, Any]:
    """The whole of it, for another program."""
    checkpoint = facts.checkpoint
    return {
        "run": {"id": facts.run.id, "status": facts.run.status, "cycle": facts.run.cycle},
        "job": {**without(facts.job, "outputs"), "outputs": to_json(facts.outputs)},
        "why": facts.why or None,
        "needs": [{"step": need.step, "status": need.status} for need in facts.needs],
        "attempts": [without(attempt, "traceback") for attempt in facts.attempts],
        "checkpoint": {**without(checkpoint, "state"), "state": to_json(facts.state)}
        if checkpoint is not None
        else None,
        "effects": to_json(facts.effects),
        "traceback": facts.traceback,
    }


def show_job(door: Door, facts: JobFacts, *, traceback: bool) -> None:
    """All there is to know about a job."""
    screen = door.screen
    _show_facts(door, facts)
    if facts.checkpoint is not None:
        screen.heading("Checkpoint")
        _show_checkpoint(door, facts.checkpoint)
    if facts.attempts:
        screen.heading("Attempts")
        show_attempts(door, facts.attempts)
    if facts.effects:
        screen.heading("Effects outside")
        show_effects(door, facts.effects)
    if facts.job.error:
        screen.heading("Last error")
        screen.line(facts.job.error, "bad")
    if facts.traceback is not None:
        screen.line()
        screen.line(
            facts.traceback.rstrip() if traceback else "--traceback shows it in full", "dim"
        )
    elif traceback:
        screen.line("no attempt left a traceback", "dim")


def _show_facts(door: Door, facts: JobFacts) -> None:
    job, now = facts.job, door.desk.now()
    open_ = job.status in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.WAITING)
    door.screen.facts(
        [
            ("job", f"{job.step} of {job.run_id}"),
            ("type", job.type),
            ("sent to", job.routed_to or ""),
            ("status", job.status + (f": {facts.why}" if facts.why else "")),
            ("progress", progress_words(job.progress, job.phrase) if job.lease_owner else ""),
            ("run", facts.run.status + (f", cycle {facts.run.cycle}" if facts.run.cycle else "")),
            ("needs", ", ".join(f"{need.step} ({need.status})" for need in facts.needs)),
            ("budget", _budget(job)),
            ("not before", moment(job.not_before, now) if job.not_before and open_ else ""),
            ("lease", _lease(door, job)),
            ("started", local_time(job.started_at)),
            ("completed", local_time(job.completed_at)),
            ("outputs", json.dumps(facts.outputs, ensure_ascii=False) if facts.outputs else ""),
        ]
    )


def _show_checkpoint(door: Door, checkpoint: Checkpoint) -> None:
    door.screen.facts(
        [
            ("number", str(checkpoint.number)),
            ("saved", f"{local_time(checkpoint.saved_at)} by attempt {checkpoint.attempt}"),
            ("written by", f"{checkpoint.job_type} version {checkpoint.job_type_version}"),
            ("state", "with --json"),
        ]
    )


def _budget(job: Job) -> str:
    """What is left before it is given up, in this cycle of its run."""
    if not job.attempt:
        return f"{job.max_attempts} attempts"
    spent = [f"{job.failures} of {job.max_attempts} failed"]
    if job.losses:
        spent.append(f"{job.losses} of {LOSSES} lost with their worker")
    return ", ".join(spent)


def _lease(door: Door, job: Job) -> str:
    if job.lease_owner is None or job.lease_expires_at is None:
        return ""
    now = door.desk.now()
    until = moment(job.lease_expires_at, now)
    how = f"until {until}" if job.lease_expires_at > now else f"ran out at {until}"
    return f"{job.lease_owner}, {how} (token {job.fencing_token})"


def _why(door: Door, job: Job, jobs: Sequence[Job], run_words: str) -> str:
    now = door.desk.now()
    if job.status in (JobStatus.RUNNING, JobStatus.FAILED):
        lost = job.lease_expires_at is not None and job.lease_expires_at <= now
        return "its worker is lost: `factory sweep` takes it back" if lost else ""
    return why_words(job, jobs, run_words, now)


def _traceback(door: Door, attempts: Sequence[Attempt]) -> str | None:
    failed = [attempt for attempt in attempts if attempt.traceback is not None]
    return str(door.desk.value_of(failed[-1].traceback)) if failed else None
