"""Sending a failed run round again from one job, or past what it went on without."""

from __future__ import annotations

import pytest

from factory_runtime.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    JobNotFoundError,
)
from factory_runtime.domain.job import SkipReason
from factory_runtime.domain.run import RunStatus
from tests.rounds import NO, again, ended_run, mend, run_through, statuses
from tests.small_factory import SmallFactory, fails, steps

# --- one job


def test_a_retried_job_takes_along_what_is_behind_it_and_nothing_else(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "x": fails(NO)}
    run = ended_run(
        factory, steps("a:", "b: needs: [a]", "c: needs: [b]", "x:", "y: needs: [x]", "z:")
    )
    mend(factory, "a", "x")
    again(factory, run, "a", by="bob")
    assert statuses(factory, run) == {
        **dict.fromkeys("abc", "Pending"),
        "x": "Failed",
        "y": "need-failed",
        "z": "Succeeded",
    }
    assert factory.events(run)[-1].detail == {"by": "bob", "cycle": 1, "step": "a"}
    ended = run_through(factory, run)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "failed: x")
    assert statuses(factory, run)["c"] == "Succeeded"
    again(factory, run, "x")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert factory.run(run).cycle == 2


def test_what_waits_for_another_failed_job_as_well_is_skipped_again(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "x": fails(NO)}
    run = ended_run(factory, steps("a:", "x:", "both: needs: [a, x]"))
    mend(factory, "a")
    again(factory, run, "a")
    assert statuses(factory, run)["both"] == "Pending"
    assert run_through(factory, run).status is RunStatus.FAILED
    assert statuses(factory, run) == {"a": "Succeeded", "x": "Failed", "both": "need-failed"}


def test_what_a_job_waits_for_has_to_be_retried_first(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:", "b: needs: [a]", "c: needs: [b]"))
    for step, need in (("b", "a"), ("c", "b")):
        with pytest.raises(ConflictError, match=f"job {step} of .* needs {need},") as refused:
            again(factory, run, step)
        assert refused.value.hint == f"retry {need} first: {step} comes along"
    assert factory.run(run) == run


def test_a_job_that_was_not_to_run_or_succeeded_is_not_retried(factory: SmallFactory):
    factory.on["c"] = fails(NO)
    run = ended_run(factory, steps("a:", "b: when: '${{ 1 == 2 }}'", "c:"))
    for step, status in (("a", "Succeeded"), ("b", "Skipped")):
        with pytest.raises(IllegalTransitionError, match=f"job {step} .* is {status} and cannot"):
            again(factory, run, step)
    assert factory.run(run) == run


@pytest.mark.parametrize("step", ["", "nobody", "a'; --", "a\x00", "ä" * 300])
def test_a_job_that_the_run_does_not_have_is_not_retried(factory: SmallFactory, step: str):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"))
    with pytest.raises(JobNotFoundError):
        again(factory, run, step)
    assert factory.run(run) == run


# --- continue and fallbacks


def test_a_failed_job_that_the_run_went_on_without_can_be_retried_alone(factory: SmallFactory):
    factory.on |= {"docs": fails(NO), "b": fails(NO)}
    run = ended_run(factory, steps("docs: on_failure: continue", "b: needs: [docs]"))
    assert statuses(factory, run) == {"docs": "Failed", "b": "Failed"}
    mend(factory, "b")
    # It ran without its need, and may do so again.
    again(factory, run, "b")
    assert statuses(factory, run) == {"docs": "Failed", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


SPARE = steps("a: on_failure: {fallback: spare}", "spare:", "b: needs: [a]")


def test_a_fallback_that_failed_too_is_not_needed_where_the_retry_succeeds(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "spare": fails(NO)}
    run = ended_run(factory, SPARE)
    assert statuses(factory, run) == {"a": "Failed", "spare": "Failed", "b": "need-failed"}
    mend(factory, "a")
    again(factory, run, "a")
    assert set(statuses(factory, run).values()) == {"Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {
        "a": "Succeeded",
        "spare": SkipReason.FALLBACK_NOT_NEEDED,
        "b": "Succeeded",
    }


def test_a_fallback_that_failed_can_be_retried_in_the_place_of_what_it_stands_in_for(
    factory: SmallFactory,
):
    factory.on |= {"a": fails(NO), "spare": fails(NO)}
    run = ended_run(factory, SPARE)
    mend(factory, "spare")
    again(factory, run, "spare")
    assert statuses(factory, run) == {"a": "Failed", "spare": "Pending", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Succeeded"}


def test_a_fallback_that_succeeded_stands_in_again_where_the_retry_fails(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "b": fails(NO)}
    run = ended_run(factory, SPARE)
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Failed"}
    mend(factory, "b")
    again(factory, run)
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Succeeded"}


def test_a_fallback_that_was_not_needed_stays_so(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = ended_run(factory, SPARE)
    mend(factory, "b")
    again(factory, run)
    assert statuses(factory, run) == {
        "a": "Succeeded",
        "spare": SkipReason.FALLBACK_NOT_NEEDED,
        "b": "Pending",
    }
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_a_fallback_that_was_never_reached_comes_along(factory: SmallFactory):
    factory.on["first"] = fails(NO)
    text = steps(
        "first:",
        "a: needs: [first], on_failure: {fallback: spare}",
        "spare: needs: [first]",
        "b: needs: [a]",
    )
    run = ended_run(factory, text)
    mend(factory, "first")
    factory.on["a"] = fails(NO)
    again(factory, run, "first")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {
        "first": "Succeeded",
        "a": "Failed",
        "spare": "Succeeded",
        "b": "Succeeded",
    }
