"""What a changed plan asks of people again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.compiler.ask_again import ask_again, is_successor, without_successors
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.progress import ancestors
from factory_runtime.domain.template import RetryPolicy


def job(name: str, *needs: str, asks: bool = False, fallback_for: str | None = None) -> PlannedJob:
    return PlannedJob(
        name=name,
        step=name,
        type="approval" if asks else "act",
        type_version="1",
        needs=needs,
        with_={},
        retry=RetryPolicy(),
        timeout=timedelta(minutes=10),
        fallback_for=() if fallback_for is None else (fallback_for,),
    )


def plan(*jobs: PlannedJob) -> Plan:
    return Plan("demo", "1.0.0", "a" * 64, {}, jobs)


def needs(made: Plan) -> dict[str, tuple[str, ...]]:
    return {one.name: one.needs for one in made.jobs}


def test_what_is_still_to_do_behind_a_granted_approval_waits_for_its_successor():
    before = plan(job("a"), job("gate", "a", asks=True), job("b", "gate"), job("c", "b"))
    after = ask_again(before, {"gate"}, {"a", "gate"}, 2)
    assert needs(after) == {
        "a": (),
        "gate": ("a",),
        "gate@2": ("a",),
        "b": ("gate", "gate@2"),
        "c": ("b",),
    }
    assert after.job("gate@2") == replace(before.job("gate"), name="gate@2")


def test_a_job_that_succeeded_hides_no_approval_from_those_behind_it():
    before = plan(job("gate", asks=True), job("b", "gate"), job("c", "b"), job("d"))
    after = ask_again(before, {"gate"}, {"gate", "b"}, 1)
    assert after.job("b") == before.job("b")
    assert after.job("c").needs == ("b", "gate@1")
    assert after.job("d").needs == ()


def test_approvals_that_wait_for_each_other_do_so_again():
    before = plan(
        job("first", asks=True),
        job("b", "first"),
        job("second", "b", asks=True),
        job("c", "second"),
    )
    after = ask_again(before, {"first", "second"}, {"first", "b", "second"}, 1)
    assert after.job("second@1").needs == ("b", "first@1")
    assert after.job("c").needs == ("second", "second@1")


def test_an_approval_that_is_new_is_waited_for_behind_what_succeeded():
    before = plan(job("new", asks=True), job("b", "new"), job("c", "b"))
    after = ask_again(before, set(), {"b"}, 1)
    assert needs(after) == {"new": (), "b": ("new",), "c": ("b", "new")}


def test_what_stands_in_for_an_approval_does_so_for_its_successor():
    before = plan(
        job("gate", asks=True), job("spare", "gate", fallback_for="gate"), job("b", "gate", "spare")
    )
    spare = ask_again(before, {"gate"}, {"gate"}, 1).job("spare")
    assert (spare.needs, spare.fallback_for) == (("gate", "gate@1"), ("gate", "gate@1"))


def test_items_keep_theirs():
    name = "gate[eu]"
    before = plan(replace(job(name, asks=True), step="gate", item="eu", item_key="eu"))
    again = ask_again(before, {name}, {name}, 3).job("gate[eu]@3")
    assert (again.step, again.item, again.item_key) == ("gate", "eu", "eu")


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, set[str], set[str]]:
    """A plan, which of its approvals were granted, and which of its jobs have ended."""
    jobs = list[PlannedJob]()
    settled = set[str]()
    for number in range(draw(st.integers(1, 8))):
        above = draw(st.sets(st.sampled_from([one.name for one in jobs]))) if jobs else set[str]()
        asks = draw(st.booleans())
        jobs.append(job(f"job-{number}", *sorted(above), asks=asks))
        if above <= settled and draw(st.booleans()):
            settled.add(f"job-{number}")
    granted = {one.name for one in jobs if one.type == "approval" and one.name in settled}
    return plan(*jobs), granted, settled


@given(situations())
def test_nothing_is_done_behind_an_approval_that_was_not_asked_again(
    situation: tuple[Plan, set[str], set[str]],
):
    before, granted, settled = situation
    after = ask_again(before, granted, settled, 1)
    for one in after.jobs:
        if one.name in settled or is_successor(one.name):
            continue
        old = ancestors(before, one.name)
        assert {f"{name}@1" for name in old & granted} <= ancestors(after, one.name)


@given(situations())
def test_each_job_still_follows_its_needs_and_what_ended_is_as_it_was(
    situation: tuple[Plan, set[str], set[str]],
):
    before, granted, settled = situation
    after = ask_again(before, granted, settled, 1)
    seen = set[str]()
    for one in after.jobs:
        assert seen.issuperset(one.needs)
        seen.add(one.name)
    assert all(after.job(name) == before.job(name) for name in settled)
    if granted == {one.name for one in before.jobs if one.type == "approval"}:
        assert without_successors(after) == before
