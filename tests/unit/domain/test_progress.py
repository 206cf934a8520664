"""What follows for a job when its needs have ended, and for a run when its jobs have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.progress import (
    Ending,
    StepOutputs,
    Verdict,
    ancestors,
    compensates,
    run_ending,
    verdict,
)
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.template import OnFailure, RetryPolicy

OK = Ending(JobStatus.SUCCEEDED)
FAILED = Ending(JobStatus.FAILED)
STUCK = Ending(JobStatus.SKIPPED, SkipReason.NEED_FAILED)
UNWANTED = Ending(JobStatus.SKIPPED, SkipReason.CONDITION)
SPARE = Ending(JobStatus.SKIPPED, SkipReason.FALLBACK_NOT_NEEDED)


def a_planned_job(name: str, *needs: str, **changes: Any) -> PlannedJob:
    step = name.partition("[")[0]
    return PlannedJob(
        name, step, "t", "1", needs, {}, RetryPolicy(), timedelta(minutes=1), **changes
    )


def a_plan(*jobs: PlannedJob, **changes: Any) -> Plan:
    return Plan("t", "1.0.0", "d", {}, jobs, **changes)


CONTINUE = OnFailure("continue")
FALLBACK = OnFailure("fallback", "b")


def test_a_failed_need_skips_the_jobs_behind_it_all_the_way():
    plan = a_plan(a_planned_job("a"), a_planned_job("b", "a"), a_planned_job("c", "b"))
    assert verdict(plan, plan.job("b"), {"a": FAILED}) is Verdict.SKIP_NEED_FAILED
    assert verdict(plan, plan.job("c"), {"a": FAILED, "b": STUCK}) is Verdict.SKIP_NEED_FAILED
    assert run_ending(plan, {"a": FAILED, "b": STUCK, "c": STUCK}) is RunStatus.FAILED


def test_a_need_skipped_by_its_condition_does_not_stop_anybody():
    plan = a_plan(a_planned_job("a", skip=True), a_planned_job("b", "a"))
    assert verdict(plan, plan.job("a"), {}) is Verdict.SKIP_CONDITION
    assert verdict(plan, plan.job("b"), {"a": UNWANTED}) is Verdict.RUN
    assert run_ending(plan, {"a": UNWANTED, "b": OK}) is RunStatus.SUCCEEDED


def test_a_failure_that_has_the_run_undone_lets_no_other_job_begin():
    bad = a_planned_job("bad", on_failure=OnFailure("compensate"))
    plan = a_plan(a_planned_job("a"), bad, a_planned_job("behind", "a"), a_planned_job("free"))
    endings = {"a": OK, "bad": FAILED}
    for name in ("behind", "free"):
        assert verdict(plan, plan.job(name), endings) is Verdict.SKIP_NEED_FAILED
        assert verdict(plan, plan.job(name), endings, under_way=True) is Verdict.RUN
        assert verdict(plan, plan.job(name), {"a": OK, "bad": OK}) is Verdict.RUN
        assert verdict(plan, plan.job(name), {"a": OK}) is Verdict.RUN
    assert compensates(plan, endings)
    assert run_ending(plan, {**endings, "behind": STUCK, "free": STUCK}) is RunStatus.FAILED


def test_a_compensating_job_that_was_not_reached_undoes_nothing():
    bad = a_planned_job("bad", "a", on_failure=OnFailure("compensate"))
    plan = a_plan(a_planned_job("a"), bad, a_planned_job("free"))
    assert not compensates(plan, {"a": FAILED, "bad": STUCK})
    assert verdict(plan, plan.job("free"), {"a": FAILED, "bad": STUCK}) is Verdict.RUN


def test_a_job_that_says_continue_may_fail_and_the_run_succeeds():
    plan = a_plan(a_planned_job("a", on_failure=CONTINUE), a_planned_job("b", "a"))
    assert verdict(plan, plan.job("b"), {"a": FAILED}) is Verdict.RUN
    assert run_ending(plan, {"a": FAILED, "b": OK}) is RunStatus.SUCCEEDED


def test_a_fallback_runs_only_in_the_place_of_a_failed_job():
    plan = a_plan(
        a_planned_job("a", on_failure=FALLBACK),
        a_planned_job("b", "a", fallback_for=("a",)),
        a_planned_job("c", "a", "b"),
    )
    assert verdict(plan, plan.job("b"), {"a": OK}) is Verdict.SKIP_FALLBACK_NOT_NEEDED
    assert verdict(plan, plan.job("c"), {"a": OK, "b": SPARE}) is Verdict.RUN
    assert verdict(plan, plan.job("b"), {"a": FAILED}) is Verdict.RUN
    assert verdict(plan, plan.job("c"), {"a": FAILED, "b": OK}) is Verdict.RUN
    assert verdict(plan, plan.job("c"), {"a": FAILED, "b": FAILED}) is Verdict.SKIP_NEED_FAILED
    assert run_ending(plan, {"a": FAILED, "b": OK, "c": OK}) is RunStatus.SUCCEEDED
    assert run_ending(plan, {"a": FAILED, "b": FAILED, "c": STUCK}) is RunStatus.FAILED


def test_a_fallback_of_a_fallback_rescues_both():
    plan = a_plan(
        a_planned_job("a", on_failure=FALLBACK),
        a_planned_job("b", "a", on_failure=OnFailure("fallback", "c"), fallback_for=("a",)),
        a_planned_job("c", "b", fallback_for=("b",)),
        a_planned_job("d", "a", "b", "c"),
    )
    endings = {"a": FAILED, "b": FAILED, "c": OK}
    assert verdict(plan, plan.job("d"), endings) is Verdict.RUN
    assert run_ending(plan, {**endings, "d": OK}) is RunStatus.SUCCEEDED
    assert StepOutputs(plan, {"c": {"url": "spare"}})["a"] == {"outputs": {"url": "spare"}}
    broken = {"a": FAILED, "b": FAILED, "c": FAILED}
    assert verdict(plan, plan.job("d"), broken) is Verdict.SKIP_NEED_FAILED
    assert run_ending(plan, {**broken, "d": STUCK}) is RunStatus.FAILED


def test_what_follows_the_fallback_of_a_job_that_was_never_reached_is_not_reached_either():
    plan = a_plan(
        a_planned_job("x"),
        a_planned_job("a", "x", on_failure=FALLBACK),
        a_planned_job("b", "a", fallback_for=("a",)),
        a_planned_job("c", "b"),
    )
    endings = {"x": FAILED, "a": STUCK}
    assert verdict(plan, plan.job("b"), endings) is Verdict.SKIP_NEED_FAILED
    assert verdict(plan, plan.job("c"), {**endings, "b": STUCK}) is Verdict.SKIP_NEED_FAILED


def test_an_each_step_without_items_has_outputs_of_none():
    steps = StepOutputs(a_plan(a_planned_job("a"), each_steps=("make-it",)), {})
    assert steps["make_it"] == {"outputs": {}}
    assert "other" not in steps


def test_a_cancelled_job_cancels_its_run():
    plan = a_plan(a_planned_job("a"))
    assert run_ending(plan, {"a": Ending(JobStatus.CANCELLED)}) is RunStatus.CANCELLED


def test_outputs_of_an_each_step_are_keyed_by_item_and_names_use_underscores():
    plan = a_plan(
        a_planned_job("make-it"),
        a_planned_job("layer[x]", item_key="x"),
        a_planned_job("layer[y]", item_key="y"),
        each_steps=("layer",),
    )
    steps = StepOutputs(plan, {"make-it": {"url": "u"}, "layer[x]": {"n": 1}})
    assert steps["make_it"] == {"outputs": {"url": "u"}}
    assert steps["layer"] == {"outputs": {"x": {"n": 1}}}
    assert list(steps) == ["make_it", "layer"]


def test_outputs_of_a_failed_step_are_those_of_its_fallback():
    plan = a_plan(
        a_planned_job("a", on_failure=FALLBACK), a_planned_job("b", "a", fallback_for=("a",))
    )
    assert StepOutputs(plan, {"b": {"url": "spare"}})["a"] == {"outputs": {"url": "spare"}}


def test_ancestors_are_found_through_every_branch():
    plan = a_plan(
        a_planned_job("a"), a_planned_job("b", "a"), a_planned_job("c", "a"),
        a_planned_job("d", "b", "c"), a_planned_job("e"),
    )  # fmt: skip
    assert ancestors(plan, "d") == {"a", "b", "c"}
    assert ancestors(plan, "e") == frozenset()


def an_item(step: str, key: str, *needs: str, **changes: Any) -> PlannedJob:
    return a_planned_job(f"{step}[{key}]", *needs, item_key=key, **changes)


def test_what_an_each_step_gives_is_what_is_there():
    plan = a_plan(
        *(an_item("a", key, on_failure=CONTINUE) for key in "xyz"),
        a_planned_job("b", "a[x]", "a[y]", "a[z]"),
        each_steps=("a",),
    )
    endings = {"a[x]": OK, "a[y]": FAILED, "a[z]": UNWANTED}
    assert verdict(plan, plan.job("b"), endings) is Verdict.RUN
    steps = StepOutputs(plan, {"a[x]": {"n": 1}})
    assert steps["a"] == {"outputs": {"x": {"n": 1}}}
    assert run_ending(plan, {**endings, "b": OK}) is RunStatus.SUCCEEDED
    assert StepOutputs(plan, {})["a"] == {"outputs": {}}


def test_a_fallback_of_one_item_gives_in_the_place_of_that_item():
    plan = a_plan(
        *(an_item("a", key, on_failure=FALLBACK) for key in "xyz"),
        *(an_item("b", key, f"a[{key}]", fallback_for=(f"a[{key}]",)) for key in "xyz"),
        a_planned_job("c", *(f"{step}[{key}]" for step in "ab" for key in "xyz")),
    )
    endings = {"a[x]": OK, "a[y]": FAILED, "a[z]": OK}
    assert verdict(plan, plan.job("b[y]"), endings) is Verdict.RUN
    assert verdict(plan, plan.job("b[x]"), endings) is Verdict.SKIP_FALLBACK_NOT_NEEDED
    endings |= {"b[x]": SPARE, "b[y]": OK, "b[z]": SPARE}
    assert verdict(plan, plan.job("c"), endings) is Verdict.RUN
    steps = StepOutputs(plan, {"a[x]": {"n": 1}, "a[z]": {"n": 3}, "b[y]": {"n": 2}})
    assert steps["a"]["outputs"] == {"x": {"n": 1}, "y": {"n": 2}, "z": {"n": 3}}
    assert run_ending(plan, {**endings, "c": OK}) is RunStatus.SUCCEEDED


def test_an_item_whose_fallback_failed_too_stops_those_behind_it():
    plan = a_plan(
        *(an_item("a", key, on_failure=FALLBACK) for key in "xy"),
        *(an_item("b", key, f"a[{key}]", fallback_for=(f"a[{key}]",)) for key in "xy"),
        a_planned_job("c", "a[x]", "a[y]", "b[x]", "b[y]"),
    )
    endings = {"a[x]": FAILED, "a[y]": FAILED, "b[x]": OK, "b[y]": FAILED}
    assert verdict(plan, plan.job("c"), endings) is Verdict.SKIP_NEED_FAILED
    assert run_ending(plan, {**endings, "c": STUCK}) is RunStatus.FAILED


def test_what_stands_in_for_all_items_is_none_of_them():
    plan = a_plan(
        *(an_item("a", key, on_failure=FALLBACK) for key in "xy"),
        a_planned_job("b", "a[x]", "a[y]", fallback_for=("a[x]", "a[y]")),
    )
    endings = {"a[x]": OK, "a[y]": FAILED, "b": OK}
    assert run_ending(plan, endings) is RunStatus.SUCCEEDED
    steps = StepOutputs(plan, {"a[x]": {"n": 1}, "b": {"n": 9}})
    assert steps["a"]["outputs"] == {"x": {"n": 1}}
    assert steps["b"]["outputs"] == {"n": 9}
