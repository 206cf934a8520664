"""How jobs and places in a queue read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cli.job_words import again_words, attempt_words, note_of, progress_words, why_words
from cli.text import moment, ordinal
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from tests.builders import NOON, a_job, after


def test_places_are_spelled() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)
    spelled = "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th"
    assert " ".join(map(ordinal, numbers)) == spelled


def test_a_moment_has_its_day_unless_that_is_today() -> None:
    assert moment(NOON, NOON) == NOON.astimezone().strftime("%H:%M:%S")
    assert moment(NOON + timedelta(days=2), NOON).startswith("2026-11-23 ")


@pytest.mark.parametrize(
    ("progress", "phrase", "words"),
    [
        (0.454, "gathering source 3 of 5", "45% gathering source 3 of 5"),
        (0.0, "", "0%"),
        (1.0, None, "100%"),
        (None, "two\nlines", "two lines"),
        (None, None, ""),
    ],
)
def test_progress_is_a_share_and_a_phrase(
    progress: float | None, phrase: str | None, words: str
) -> None:
    assert progress_words(progress, phrase) == words


def test_an_attempt_beyond_the_budget_is_not_told_as_a_part_of_it() -> None:
    assert [attempt_words(n, 5) for n in (0, 1, 5, 6)] == ["", "1/5", "5/5", "6"]


def test_a_try_that_is_due_is_told_without_its_time() -> None:
    assert again_words("busy", after(60), NOON).endswith(": busy")
    assert again_words("busy", after(-1), NOON) == "tried again: busy"
    assert again_words(None, None, NOON) == ""


@pytest.mark.parametrize("status", JobStatus)
def test_every_status_has_its_note(status: JobStatus) -> None:
    job = a_job(
        status=status,
        progress=0.5,
        phrase="half",
        error="no\nmore",
        not_before=after(60),
        skip_reason=SkipReason.NEED_FAILED,
    )
    at = moment(after(60), NOON)
    expected = {
        JobStatus.PENDING: f"tried again at {at}: no",
        JobStatus.RUNNING: "50% half",
        JobStatus.WAITING: f"half, goes on at {at}",
        JobStatus.SKIPPED: "need-failed",
    }
    assert note_of(job, NOON) == expected.get(status, "no")


def test_a_pending_job_waits_for_its_needs_before_its_run() -> None:
    def why(*others: Job) -> str:
        return why_words(a_job(step="b", needs=("a",)), others, "paused", NOON)

    assert why(a_job(step="a"), a_job(step="c")) == "waits for a (Pending)"
    assert why(a_job(step="a", status=JobStatus.SUCCEEDED), a_job(step="c")) == "paused"
