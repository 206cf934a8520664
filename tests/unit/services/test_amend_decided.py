"""A changed plan needs new approvals, and is held against the policies as they stand now."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.approval import Approval
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    NotAllowedError,
    PolicyRefusedError,
    PolicyUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import decide
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.plans import read_plan
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.put_down import put_down
from factory_runtime.services.retry_run import retry_run
from tests.builders import TENANT
from tests.small_factory import SmallFactory, fails, steps

NO = ValueError("no")
INPUTS = "inputs: {type: object, properties: {text: {type: string, default: hello}}}\n"
GATED = (
    INPUTS
    + """
steps:
  - {name: a, type: act}
  - {name: gate, type: approval, needs: [a], with: {message: "May it, ${{ inputs.text }}?"}}
  - {name: b, type: act, needs: [gate], with: {text: "${{ inputs.text }}"}}
"""
)


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the real databases."""
    return SmallFactory(tmp_path / "templates", database_store)


@pytest.fixture
def memory(tmp_path: Path) -> Generator[SmallFactory]:
    """A factory in memory, for what no row decides."""
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


def go_on(factory: SmallFactory, run: Run) -> Run:
    """Walk the run as far as it goes: it waits for people then, or has ended."""
    walk = factory.take_up(factory.run(run), str(run.flow_run_id or "flow-1"))
    asked = set[str]()
    while ready := [name for name in factory.ready(walk) if name not in asked]:
        asked.add(ready[0])
        factory.attempt(walk, ready[0])
    dues = [job.not_before for job in walk.jobs.values() if job.status is JobStatus.WAITING]
    if any(dues):
        return put_down(factory.engine, walk, RunStatus.WAITING, min(filter(None, dues)))
    stop_walking(factory.engine, walk)
    return factory.run(run)


def newest(factory: SmallFactory, run: Run) -> Approval:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_approvals(run_id=run.id)[-1]


def vote(factory: SmallFactory, run: Run, person: str = "grace", *, granted: bool = True) -> None:
    approval = newest(factory, run)
    decide(factory.store, factory.clock, TENANT, approval.id, person, (), granted, "so it is")


def again(factory: SmallFactory, run: Run, **change: Any) -> Run:
    factory.clock.pass_time()
    return retry_run(
        factory.store,
        factory.clock,
        TENANT,
        run.id,
        "bob",
        change=Change(**change),
        desk=factory.desk,
    )


def statuses(factory: SmallFactory, run: Run) -> dict[str, str]:
    return {name: job.skip_reason or job.status for name, job in factory.jobs(run).items()}


@pytest.fixture
def approved(factory: SmallFactory) -> Run:
    """A run that failed behind an approval that grace granted."""
    factory.template(GATED)
    factory.on["b"] = fails(NO)
    run = factory.request()
    assert go_on(factory, run).status is RunStatus.WAITING
    vote(factory, run)
    ended = go_on(factory, run)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "failed: b")
    return ended


# --- approvals


@pytest.mark.parametrize("change", [{"inputs": {"text": "new"}}, {"timeout_seconds": 7200.0}])
def test_a_changed_plan_asks_again_and_goes_on_once_it_is_granted(
    factory: SmallFactory, approved: Run, change: dict[str, Any]
):
    before = factory.jobs(approved)
    again(factory, approved, **change)
    assert statuses(factory, approved) == {
        "a": "Succeeded", "gate": "Succeeded", "gate@1": "Pending", "b": "Pending",
    }  # fmt: skip
    factory.on.clear()
    assert go_on(factory, approved).status is RunStatus.WAITING
    asked = newest(factory, approved)
    plan = factory.run(approved).plan
    assert plan is not None
    assert plan.reference is not None
    assert (asked.step, asked.plan_digest) == ("gate@1", plan.reference.digest)
    if "inputs" in change:
        assert asked.message == "May it, new?"
    vote(factory, approved)
    assert go_on(factory, approved).status is RunStatus.SUCCEEDED
    for name in ("a", "gate"):
        assert factory.jobs(approved)[name].attempt == before[name].attempt
        assert factory.jobs(approved)[name].outputs == before[name].outputs


def test_what_is_denied_this_time_does_not_run(factory: SmallFactory, approved: Run):
    again(factory, approved, inputs={"text": "new"})
    factory.on["b"] = fails(AssertionError("it ran"))
    go_on(factory, approved)
    vote(factory, approved, granted=False)
    assert go_on(factory, approved).status is RunStatus.FAILED
    assert statuses(factory, approved)["b"] == "need-failed"
    # And asks once more where it goes round again as it is.
    again(factory, approved)
    assert statuses(factory, approved)["gate@1"] == "Pending"


def test_who_changed_the_plan_does_not_approve_it(factory: SmallFactory, approved: Run):
    again(factory, approved, inputs={"text": "new"})
    go_on(factory, approved)
    for person in ("bob", "ada"):  # who changed it, who requested it
        with pytest.raises(NotAllowedError):
            vote(factory, approved, person)
    vote(factory, approved, "linus")


def test_a_plan_that_stays_is_not_asked_for_again(factory: SmallFactory, approved: Run):
    again(factory, approved, inputs={"text": "hello"})
    assert "gate@1" not in factory.jobs(approved)
    factory.on.clear()
    assert go_on(factory, approved).status is RunStatus.SUCCEEDED
    assert factory.run(approved).plan_changed_by == ()


def test_each_change_asks_anew_and_earlier_questions_are_history(
    factory: SmallFactory, approved: Run
):
    again(factory, approved, inputs={"text": "new"})
    go_on(factory, approved)
    vote(factory, approved)
    assert go_on(factory, approved).status is RunStatus.FAILED
    again(factory, approved, inputs={"text": "newer"})
    assert statuses(factory, approved) == {
        "a": "Succeeded",
        "gate": "Succeeded",
        "gate@2": "Pending",
        "b": "Pending",
        "gate@1": "Succeeded",
    }
    factory.on.clear()
    go_on(factory, approved)
    vote(factory, approved)
    assert go_on(factory, approved).status is RunStatus.SUCCEEDED


# --- policies


def governed(factory: SmallFactory, folder: Path, text: str) -> None:
    """Have the tenant's policy say this from now on."""
    folder.mkdir(exist_ok=True)
    (folder / f"{TENANT}.yaml").write_text(text)
    book = PolicyBook(lambda: factory.store, folder, factory.clock)
    factory.desk = replace(factory.desk, policies=book)


@pytest.fixture
def failed(factory: SmallFactory) -> Run:
    factory.template(INPUTS + steps("a: ", "b: needs: [a], with: {text: '${{ inputs.text }}'}"))
    factory.on["b"] = fails(NO)
    return go_on(factory, factory.request())


@pytest.mark.parametrize("change", [{}, {"timeout_seconds": 60.0}, {"inputs": {"text": "new"}}])
def test_a_version_that_was_withdrawn_does_not_go_round_again(
    factory: SmallFactory, failed: Run, tmp_path: Path, change: dict[str, Any]
):
    governed(factory, tmp_path / "p", "templates: {demo: {withdrawn: {'1.0.0': it leaks}}}")
    with pytest.raises(PolicyRefusedError) as refused:
        again(factory, failed, **change)
    assert "1.0.0 is withdrawn: it leaks" in str(refused.value.problems[0])
    assert factory.run(failed) == failed
    factory.template(INPUTS + steps("a: ", "b: needs: [a]"), version="1.0.1")
    factory.on.clear()
    again(factory, failed, template_version="1.0.1")
    assert go_on(factory, failed).status is RunStatus.SUCCEEDED


def test_other_inputs_are_held_against_the_policy(
    factory: SmallFactory, failed: Run, tmp_path: Path
):
    governed(factory, tmp_path / "p", "inputs: {demo: {properties: {text: {maxLength: 5}}}}")
    with pytest.raises(PolicyRefusedError):
        again(factory, failed, inputs={"text": "too long"})
    assert again(factory, failed, inputs={"text": "short"}).cycle == 1


@pytest.mark.parametrize("change", [{}, {"timeout_seconds": 60.0}, {"inputs": {"text": "new"}}])
def test_an_approval_that_the_policy_wants_by_now_stands_before_what_is_still_to_do(
    factory: SmallFactory, failed: Run, tmp_path: Path, change: dict[str, Any]
):
    text = "approval: [{name: care, message: May it?}]"
    governed(factory, tmp_path / "p", text)
    again(factory, failed, **change)
    assert statuses(factory, failed) == {
        "policy-care": "Pending", "a": "Succeeded", "b": "Pending",
    }  # fmt: skip
    # Though it needs nothing but what has succeeded, which the approval came too late for.
    assert "policy-care" in read_plan(factory.storage, factory.run(failed)).job("b").needs
    factory.on.clear()
    assert go_on(factory, failed).status is RunStatus.WAITING
    vote(factory, failed)
    assert go_on(factory, failed).status is RunStatus.SUCCEEDED


def test_what_the_policy_wants_and_was_granted_is_not_asked_again(
    factory: SmallFactory, tmp_path: Path
):
    governed(factory, tmp_path / "p", "approval: [{name: care, message: May it?}]")
    factory.template(INPUTS + steps("a: "))
    factory.on["a"] = fails(NO)
    run = factory.request()
    go_on(factory, run)
    vote(factory, run)
    assert go_on(factory, run).status is RunStatus.FAILED
    queued = again(factory, run)
    assert (queued.plan, queued.plan_changed_by) == (run.plan, ())
    assert statuses(factory, run) == {"policy-care": "Succeeded", "a": "Pending"}


def test_an_approval_that_the_policy_words_otherwise_by_now_is_asked_as_it_says(
    factory: SmallFactory, tmp_path: Path
):
    governed(factory, tmp_path / "p", "approval: [{name: care, message: May it?}]")
    factory.template(INPUTS + steps("a: "))
    factory.on["a"] = fails(NO)
    run = factory.request()
    go_on(factory, run)
    vote(factory, run)
    assert go_on(factory, run).status is RunStatus.FAILED
    governed(factory, tmp_path / "p", "approval: [{name: care, count: 2, message: Really?}]")
    again(factory, run)
    assert statuses(factory, run) == {
        "policy-care": "Succeeded", "policy-care@1": "Pending", "a": "Pending",
    }  # fmt: skip
    go_on(factory, run)
    asked = newest(factory, run)
    assert (asked.message, asked.count) == ("Really?", 2)


def test_an_undo_is_sent_round_whatever_the_policy_wants_by_now(
    factory: SmallFactory, failed: Run, tmp_path: Path
):
    with factory.store.begin(TENANT) as tx:
        tx.save_run(failed, failed.changed(factory.clock.at, undoes="run-of-old"))
    governed(
        factory, tmp_path / "p", "approval: [{name: care, message: May it?}]\nmax_deadline: 1m"
    )
    queued = again(factory, failed)
    assert (queued.plan, queued.deadline_at) == (failed.plan, failed.deadline_at)


# --- deadlines


@pytest.mark.parametrize(
    ("asked", "policy", "left"),
    [
        (timedelta(hours=2), "max_deadline: 1h", timedelta(hours=1)),
        (timedelta(hours=2), "max_deadline: 3h", timedelta(hours=2)),
        (None, "max_deadline: 3h", timedelta(hours=3)),
        (None, "{}", None),
    ],
)
@pytest.mark.parametrize("change", [{}, {"timeout_seconds": 60.0}, {"inputs": {"text": "new"}}])
def test_a_round_has_no_more_time_than_the_policy_gives_by_now(
    memory: SmallFactory,
    tmp_path: Path,
    asked: timedelta | None,
    policy: str,
    left: timedelta | None,
    change: dict[str, Any],
):
    factory = memory
    factory.template(INPUTS + steps("a: with: {text: '${{ inputs.text }}'}"))
    factory.on["a"] = fails(NO)
    run = go_on(factory, factory.request(deadline=asked))
    governed(factory, tmp_path / "p", policy)
    queued = again(factory, run, **change)
    assert queued.deadline_at == (None if left is None else factory.clock.at + left)


@pytest.mark.parametrize(
    ("deadline", "left"), [("30m", timedelta(minutes=30)), ("3h", timedelta(hours=2))]
)
def test_a_round_has_no_more_time_than_the_new_version_gives(
    memory: SmallFactory, deadline: str, left: timedelta
):
    factory = memory
    factory.template(INPUTS + "deadline: 2h\n" + steps("a: "))
    factory.on["a"] = fails(NO)
    run = go_on(factory, factory.request())
    factory.template(INPUTS + f"deadline: {deadline}\n" + steps("a: "), version="1.1.0")
    queued = again(factory, run, template_version="1.1.0")
    assert queued.deadline_at == factory.clock.at + left


def test_a_policy_that_cannot_be_read_lets_nothing_go_round_again(
    factory: SmallFactory, failed: Run, tmp_path: Path
):
    governed(factory, tmp_path / "p", "templates: [")
    with pytest.raises(PolicyUnavailableError):
        again(factory, failed)
    assert factory.run(failed) == failed
