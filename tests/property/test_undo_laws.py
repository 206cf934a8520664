"""Laws of the plan that undoes another, over plans of every shape."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.compiler.plan import plan_from_json, plan_to_json
from factory_runtime.compiler.undo_plan import compile_undo, undo_name
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.progress import ancestors
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.template import RetryPolicy
from tests.builders import a_run, an_effect

Drawn = tuple[Plan, tuple[Effect, ...]]


@st.composite
def undone_runs(draw: st.DrawFn) -> Drawn:
    """A plan, and a ledger in which some of its jobs stand."""
    jobs: list[PlannedJob] = []
    effects: list[Effect] = []
    run = a_run()
    for number in range(draw(st.integers(0, 9))):
        needs = (
            draw(st.lists(st.sampled_from(jobs), unique_by=lambda job: job.name)) if jobs else []
        )
        name = f"j{number}"
        jobs.append(
            PlannedJob(
                name=name,
                step=name,
                type="t",
                type_version="1",
                needs=tuple(job.name for job in needs),
                with_={},
                retry=RetryPolicy(),
                timeout=timedelta(minutes=1),
                undo=draw(st.sampled_from([None, "take-back"])),
            )
        )
        for status in draw(st.lists(st.sampled_from(EffectStatus), max_size=2)):
            effects.append(an_effect(run, step=name, status=status))
    return Plan("t", "1.0.0", "d", {"a": 1}, tuple(jobs)), tuple(effects)


def undone_by(plan: Plan, effects: tuple[Effect, ...]) -> set[str]:
    standing = (EffectStatus.INTENDED, EffectStatus.CONFIRMED)
    acted = {effect.step for effect in effects if effect.status in standing}
    return {job.name for job in plan.jobs if job.name in acted and job.undo is not None}


@given(undone_runs())
def test_each_job_that_did_something_and_names_an_undo_has_one(drawn: Drawn):
    plan, effects = drawn
    undo = compile_undo(plan, effects)
    assert {job.undo_of for job in undo.jobs} == undone_by(plan, effects)
    assert len(undo.by_name) == len(undo.jobs)
    assert all(job.name == undo_name(job.undo_of or "") for job in undo.jobs)


@given(undone_runs())
def test_an_undo_waits_for_those_of_all_that_came_after_and_for_no_others(drawn: Drawn):
    plan, effects = drawn
    undo = compile_undo(plan, effects)
    for job in undo.jobs:
        waits_for = {undo.job(name).undo_of for name in ancestors(undo, job.name)}
        behind = {
            other.undo_of
            for other in undo.jobs
            if job.undo_of in ancestors(plan, other.undo_of or "")
        }
        assert waits_for == behind


@given(undone_runs())
def test_its_jobs_follow_their_needs_and_it_is_the_same_each_time(drawn: Drawn):
    plan, effects = drawn
    undo = compile_undo(plan, effects)
    seen: set[str] = set()
    for job in undo.jobs:
        assert seen.issuperset(job.needs)
        seen.add(job.name)
    assert undo == compile_undo(plan, effects)
    assert plan_from_json(plan_to_json(undo)) == undo
