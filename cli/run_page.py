"""The page of one run: facts, inputs, jobs, attempts, errors, and what it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from cli.door import Door
from cli.progress import cache_word
from cli.run_facts import RunFacts, error_line, show_made, show_run_facts
from cli.text import duration, local_time, size
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job
from factory_runtime.domain.redaction import redact


def show_run(door: Door, facts: RunFacts, ui_url: str | None) -> None:
    """All there is to know about a run."""
    show_run_facts(door, facts, ui_url)
    _show_values(door, "Inputs", facts.inputs)
    _show_values(door, "Outputs", facts.outputs)
    _show_jobs(door, facts)
    _show_attempts(door, facts)
    show_made(door, facts)
    _show_effects(door, facts)


def _show_values(door: Door, title: str, values: Any) -> None:
    if not isinstance(values, Mapping) or not values:
        return
    door.screen.heading(title)
    # A terminal is looked at by more people than the one who typed a password.
    shown = cast(Mapping[str, Any], redact(values))
    door.screen.facts((name, _spelled(value)) for name, value in shown.items())


def _show_jobs(door: Door, facts: RunFacts) -> None:
    if not facts.jobs:
        return
    door.screen.heading("Jobs")
    door.screen.table(
        ("job", "status", "attempt", "took", "render", "note"),
        [_job_row(job) for job in facts.jobs],
        flexible=("job", "note"),
    )


def _job_row(job: Job) -> tuple[str, ...]:
    took = ""
    if job.started_at is not None and job.completed_at is not None:
        took = duration(job.completed_at - job.started_at)
    note = error_line(job.error) or (job.skip_reason or "")
    attempt = f"{job.attempt}/{job.max_attempts}" if job.attempt else ""
    return (job.step, job.status, attempt, took, cache_word(job.cached), note)


def _show_attempts(door: Door, facts: RunFacts) -> None:
    if not facts.attempts:
        return
    door.screen.heading("Attempts")
    door.screen.table(
        ("attempt", "outcome", "started", "took", "processor", "peak memory", "worker", "error"),
        [_attempt_row(attempt) for attempt in facts.attempts],
        flexible=("attempt", "worker", "error"),
    )


def _attempt_row(attempt: Attempt) -> tuple[str, ...]:
    ended = attempt.completed_at
    return (
        f"{attempt.step} {attempt.number}",
        attempt.outcome or "running",
        local_time(attempt.started_at),
        duration(ended - attempt.started_at) if ended is not None else "",
        duration(attempt.cpu_seconds),
        size(attempt.peak_memory_bytes),
        attempt.worker,
        error_line(attempt.error),
    )


def _show_effects(door: Door, facts: RunFacts) -> None:
    if not facts.effects:
        return
    door.screen.heading("Effects outside")
    rows = [(e.step, e.kind, e.status.value, e.target, e.reference or "") for e in facts.effects]
    door.screen.table(
        ("job", "kind", "is", "target", "reference"), rows, flexible=("job", "reference")
    )


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
