"""How a job stands, in a few words: how far it is, what it waits for, why it did not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import assert_never

from cli.text import first_line, moment, one_line
from factory_runtime.domain.job import Job, JobStatus, SkipReason

SKIPPED: Mapping[str, str] = {
    SkipReason.CONDITION: "its condition is false",
    SkipReason.NEED_FAILED: "a job it needs failed",
    SkipReason.FALLBACK_NOT_NEEDED: "nothing failed that it stands in for",
    SkipReason.NOT_PLANNED: "the run's plan was changed, and has it no more",
}


def progress_words(progress: float | None, phrase: str | None) -> str:
    """``45% gathering source 3 of 5``; nothing where its type says nothing."""
    share = "" if progress is None else f"{round(100 * progress)}%"
    return " ".join(part for part in (share, one_line(phrase or "")) if part)


def waiting_words(
    phrase: str | None, until: datetime | None, now: datetime, *, for_people: bool = False
) -> str:
    """``the pipeline, goes on at 12:30:00``; what waits ``for_people`` does not by itself."""
    word = "until" if for_people else "goes on at"
    when = "" if until is None else f"{word} {moment(until, now)}"
    return ", ".join(part for part in (one_line(phrase or ""), when) if part)


def again_words(reason: str | None, not_before: datetime | None, now: datetime) -> str:
    """``tried again at 12:30:00: the host is busy``; nothing before a job's first attempt."""
    due = not_before is not None and not_before > now
    when = f" at {moment(not_before, now)}" if not_before is not None and due else ""
    said = first_line(reason or "")
    return f"tried again{when}: {said}" if said else f"tried again{when}" if when else ""


def attempt_words(attempt: int, max_attempts: int) -> str:
    """``2/5``; the number alone once lost or earlier attempts have it beyond the budget."""
    if not attempt:
        return ""
    return f"{attempt}/{max_attempts}" if attempt <= max_attempts else str(attempt)


def note_of(job: Job, now: datetime) -> str:
    """What to say beside a job's status, in a table."""
    match job.status:
        case JobStatus.RUNNING:
            return progress_words(job.progress, job.phrase)
        case JobStatus.WAITING if job.routed_to is not None:
            return first_line(job.phrase or "")
        case JobStatus.WAITING:
            for_people = job.type == "approval"
            return waiting_words(job.phrase, job.not_before, now, for_people=for_people)
        case JobStatus.PENDING:
            return again_words(job.error, job.not_before, now)
        case JobStatus.SKIPPED:
            return job.skip_reason or ""
        case JobStatus.SUCCEEDED | JobStatus.FAILED | JobStatus.CANCELLED:
            return first_line(job.error or "")
        case _:
            assert_never(job.status)


def why_words(job: Job, jobs: Iterable[Job], run_words: str, now: datetime) -> str:
    """Why a job is where it is, for those who ask about this one.

    Args:
        job: the one.
        jobs: all of its run.
        run_words: why the run stands where it does, if it waits for something.
        now: the time.
    """
    if job.status is JobStatus.SKIPPED:
        return SKIPPED.get(job.skip_reason or "", "")
    if job.status is not JobStatus.PENDING:
        return note_of(job, now)
    needed = [other for other in jobs if other.step in job.needs and not other.ended]
    if needed:
        return "waits for " + ", ".join(f"{one.step} ({one.status})" for one in needed)
    return "; ".join(part for part in (note_of(job, now), run_words) if part)
