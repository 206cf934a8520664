"""The page of one run: facts, inputs, jobs, attempts, errors, and what it made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from cli.door import Door
from cli.job_words import attempt_words, note_of
from cli.progress import cache_word
from cli.run_facts import RunFacts, error_line, show_made, show_run_facts
from cli.run_report import show_report
from cli.standing import reason_lines, run_words
from cli.text import duration, local_time, one_line, size
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import Effect
from factory_runtime.domain.redaction import redact

if TYPE_CHECKING:
    from factory_runtime.services.recovery import RunReport
    from factory_runtime.services.standing import Reason


def show_run(
    door: Door,
    facts: RunFacts,
    ui_url: str | None,
    reasons: Sequence[Reason],
    report: RunReport | None = None,
) -> None:
    """All there is to know about a run; ``reasons`` are why it stands where it does."""
    now = door.desk.now()
    show_run_facts(door, facts, ui_url, run_words(reasons, now))
    if any(_says_more(reason) for reason in reasons):
        _show_reasons(door, reason_lines(reasons, now))
    if report is not None:
        show_report(door, report)
    _show_values(door, "Inputs", facts.inputs)
    _show_values(door, "Outputs", facts.outputs)
    _show_jobs(door, facts)
    if facts.attempts:
        door.screen.heading("Attempts")
        show_attempts(door, facts.attempts)
    show_made(door, facts)
    if facts.effects:
        door.screen.heading("Effects outside")
        show_effects(door, facts.effects)


def _says_more(reason: Reason) -> bool:
    """Whether there is more to it than stands beside the run's status."""
    is_at_work = reason.kind == "at-work"
    return reason.limit is not None or (reason.step is not None and not is_at_work)


def _show_reasons(door: Door, lines: Sequence[str]) -> None:
    if lines:
        door.screen.heading("Why it waits")
        for line in lines:
            door.screen.line(line)


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
        [_job_row(job, door.desk.now()) for job in facts.jobs],
        flexible=("job", "note"),
    )


def _job_row(job: Job, now: datetime) -> tuple[str, ...]:
    took = ""
    if job.started_at is not None and job.completed_at is not None:
        took = duration(job.completed_at - job.started_at)
    attempt = attempt_words(job.attempt, job.max_attempts)
    return (job.step, job.status, attempt, took, cache_word(job.cached), note_of(job, now))


def show_attempts(door: Door, attempts: Iterable[Attempt]) -> None:
    """A table of attempts."""
    door.screen.table(
        ("attempt", "outcome", "started", "took", "processor", "peak memory", "worker", "error"),
        [_attempt_row(attempt) for attempt in attempts],
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


def show_effects(door: Door, effects: Iterable[Effect]) -> None:
    """A table of effects outside: done, or only intended as far as is known."""
    rows = [(e.step, e.kind, e.status.value, e.target, _what_came(e)) for e in effects]
    door.screen.table(
        ("job", "kind", "is", "target", "reference"), rows, flexible=("job", "reference")
    )


def _what_came(effect: Effect) -> str:
    return one_line(effect.reason or "") or effect.reference or ""


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
