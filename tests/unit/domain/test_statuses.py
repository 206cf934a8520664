"""The two status tables, and that nothing moves but along them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import IllegalTransitionError
from factory_runtime.domain.job import JOB_ENDED, JOB_MOVES, Job, JobStatus, SkipReason
from factory_runtime.domain.run import RUN_ENDED, RUN_MOVES, Run, RunStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = Run(
    "run-1", "t", "p", "tpl", "1.0.0", "d", RunStatus.REQUESTED, Body(), "me", NOW, NOW, "0" * 32,
    "c",
)  # fmt: skip
JOB = Job("j", "t", "run-1", "step", 0, "type", JobStatus.PENDING, (), 3, NOW)


@pytest.mark.parametrize("origin", list(RunStatus))
@pytest.mark.parametrize("target", list(RunStatus))
def test_a_run_moves_along_its_table_only(origin: RunStatus, target: RunStatus):
    run = replace(RUN, status=origin)
    if target in RUN_MOVES[origin]:
        moved = run.move_to(target, NOW)
        assert (moved.status, moved.version) == (target, run.version + 1)
        assert (moved.completed_at is not None) == (target in RUN_ENDED)
    else:
        with pytest.raises(IllegalTransitionError, match=f"{origin} and cannot become {target}"):
            run.move_to(target, NOW)


@pytest.mark.parametrize("origin", list(JobStatus))
@pytest.mark.parametrize("target", list(JobStatus))
def test_a_job_moves_along_its_table_only(origin: JobStatus, target: JobStatus):
    reason = SkipReason.NEED_FAILED if origin is JobStatus.SKIPPED else None
    job = replace(JOB, status=origin, skip_reason=reason)
    if target in JOB_MOVES[origin]:
        moved = job.move_to(target, NOW)
        assert (moved.status, moved.version) == (target, job.version + 1)
        assert (moved.completed_at is not None) == (target in JOB_ENDED)
    else:
        with pytest.raises(IllegalTransitionError):
            job.move_to(target, NOW)


def test_a_job_skipped_by_its_condition_is_not_brought_back():
    job = replace(JOB, status=JobStatus.SKIPPED, skip_reason=SkipReason.CONDITION)
    with pytest.raises(IllegalTransitionError):
        job.move_to(JobStatus.PENDING, NOW)


def test_succeeded_and_cancelled_are_final():
    assert not RUN_MOVES[RunStatus.SUCCEEDED]
    assert not RUN_MOVES[RunStatus.CANCELLED]
    assert not JOB_MOVES[JobStatus.SUCCEEDED]
    assert not JOB_MOVES[JobStatus.CANCELLED]
