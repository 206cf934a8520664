"""Approvals in the course of time, and in whatever their run is doing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.domain.approval import ApprovalStatus, Question
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    ConflictError,
    NotAllowedError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.notice import notice_from_payload
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.ask_people import ask
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import Walk
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.topics import NOTICE
from tests.approvals import DAY, approval_of, asks, go_on, vote, votes_of, waiting
from tests.builders import TENANT
from tests.small_factory import SUCCEEDED, SmallFactory


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the real databases."""
    return SmallFactory(tmp_path / "templates", database_store)


@pytest.fixture
def in_memory(tmp_path: Path) -> Generator[SmallFactory]:
    """A factory for rules that ask nothing of a database."""
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


# --- time


def test_nobody_can_grant_what_has_expired_and_the_run_fails_of_it(factory: SmallFactory):
    run = waiting(factory, asks(expires="2h"))
    approval = approval_of(factory, run)
    factory.clock.pass_time(timedelta(hours=2))
    with pytest.raises(ConflictError, match="expired at 2026-11-21 14:00:00 UTC"):
        vote(factory, approval)
    done = go_on(factory, run)
    assert done.status is RunStatus.FAILED
    assert factory.attempts(run, "gate")[-1].error_code == "approval-expired"
    assert f"nobody decided {approval.id}" in str(factory.jobs(run)["gate"].error)
    assert approval_of(factory, run).status is ApprovalStatus.EXPIRED
    with pytest.raises(ConflictError, match="is expired already"):
        vote(factory, approval)


def test_it_can_be_granted_until_the_very_moment_it_expires(in_memory: SmallFactory):
    run = waiting(in_memory, asks(expires="2h"))
    in_memory.clock.pass_time(timedelta(hours=2) - timedelta(microseconds=1))
    vote(in_memory, approval_of(in_memory, run))
    in_memory.clock.pass_time(timedelta(hours=1))
    assert go_on(in_memory, run).status is RunStatus.SUCCEEDED


ESCALATES = {"after": "1d", "to": ["boss", "group:leads"]}


def test_when_nobody_decides_others_are_told_once_and_may_as_well(factory: SmallFactory):
    run = waiting(factory, asks(escalate=ESCALATES))
    approval = approval_of(factory, run)
    assert factory.jobs(run)["gate"].not_before == factory.clock.now() + DAY
    with pytest.raises(NotAllowedError):
        vote(factory, approval, "boss")
    factory.clock.pass_time(DAY)
    walk = factory.take_up(run, str(run.flow_run_id))
    for _ in range(2):
        assert isinstance(factory.attempt(walk, "gate"), AnotherAttempt)
    job = factory.jobs(run)["gate"]
    assert job.not_before == approval.expires_at
    assert "grace or linus or group:ops or boss or group:leads" in str(job.phrase)
    first, second = factory.messages(NOTICE)
    assert (first.key, second.key) == (
        f"approval-wanted:{approval.id}",
        f"approval-wanted:{approval.id}:escalated",
    )
    assert "boss or group:leads" in notice_from_payload(second.payload).body
    assert approval_of(factory, run).escalated_at == factory.clock.now()
    put_down(factory.engine, walk, RunStatus.WAITING, job.not_before)
    assert vote(factory, approval, "zoe", "leads").approval.status is ApprovalStatus.GRANTED
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_escalating_takes_the_right_to_decide_from_nobody(in_memory: SmallFactory):
    approval = approval_of(in_memory, waiting(in_memory, asks(escalate=ESCALATES)))
    in_memory.clock.pass_time(2 * DAY)
    assert vote(in_memory, approval, "grace").approval.status is ApprovalStatus.GRANTED


def test_where_anybody_may_decide_escalating_narrows_nothing(in_memory: SmallFactory):
    anybody = asks(escalate=ESCALATES).replace("'by': ['grace', 'linus', 'group:ops'], ", "")
    approval = approval_of(in_memory, waiting(in_memory, anybody))
    in_memory.clock.pass_time(2 * DAY)
    assert vote(in_memory, approval, "zoe").approval.status is ApprovalStatus.GRANTED


# --- whatever the run is doing


def test_a_decision_while_the_run_is_paused_waits_for_its_resume(factory: SmallFactory):
    run = waiting(factory)
    pause_run(factory.store, factory.clock, TENANT, run.id, "ada")
    vote(factory, approval_of(factory, run))
    assert factory.run(run).status is RunStatus.PAUSED
    assert factory.store.waiting_runs(factory.clock.now()) == ()
    resume_run(factory.store, factory.clock, TENANT, run.id, "ada")
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_a_decision_while_a_walk_is_alive_neither_stops_nor_stales_it(factory: SmallFactory):
    text = asks() + "  - {name: other, type: act}\n"
    walk = factory.start(text)
    factory.attempt(walk, "gate")
    other = factory.begin(walk, "other")
    before = factory.run(walk.run)
    vote(factory, approval_of(factory, walk.run))
    after = factory.run(walk.run)
    assert (after.status, after.admitted_at) == (before.status, before.admitted_at)
    assert after.version == before.version + 1, "so that the walk sees it"
    assert factory.jobs(walk.run)["gate"].not_before == factory.clock.now()
    context = AttemptContext(factory.engine, walk, other)
    context.check_lease()
    assert factory.attempt(walk, "gate") == SUCCEEDED
    assert factory.moves(walk.run, "other") == ["Running"]


def test_a_decision_before_the_job_is_said_to_wait_is_not_lost(factory: SmallFactory):
    walk = factory.start(asks())
    gate = factory.job_types["approval"]

    class Slow:
        """Decided upon between the question and the end of the attempt."""

        facts = gate.facts
        render = staticmethod(gate.render)
        probe = staticmethod(gate.probe)

        def publish(self, context, with_, tree) -> JobResult | WaitUntil:  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType] - as the gate's
            asked = gate.publish(context, with_, tree)  # pyright: ignore[reportUnknownArgumentType]
            if not votes_of(factory, approval_of(factory, walk.run)):
                vote(factory, approval_of(factory, walk.run))
            return asked

    factory.job_types["approval"] = Slow()
    factory.attempt(walk, "gate")
    job = factory.jobs(walk.run)["gate"]
    assert (job.status, job.not_before) == (JobStatus.WAITING, factory.clock.now())
    assert factory.attempt(walk, "gate") == SUCCEEDED


def test_a_decision_while_the_run_is_being_put_down_is_not_lost(factory: SmallFactory):
    walk = factory.start(asks())
    waits = factory.attempt(walk, "gate")
    assert isinstance(waits, AnotherAttempt)
    vote(factory, approval_of(factory, walk.run))
    run = put_down(factory.engine, walk, RunStatus.WAITING, waits.not_before)
    assert (run.status, run.wake_at) == (RunStatus.WAITING, factory.clock.now())
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_a_decision_upon_a_run_whose_process_was_killed_is_found_by_the_next(factory: SmallFactory):
    walk = factory.start(asks())
    factory.attempt(walk, "gate")
    vote(factory, approval_of(factory, walk.run))
    again = factory.take_over(walk)
    assert factory.drive(again).status is RunStatus.SUCCEEDED


def test_a_decision_before_a_killed_attempt_said_anything_is_found_by_the_next(
    factory: SmallFactory,
):
    walk = factory.start(asks())
    begun = factory.begin(walk, "gate")
    AttemptContext(factory.engine, walk, begun).ask(Question("May it?", ("grace",)))
    vote(factory, approval_of(factory, walk.run))
    again = factory.take_over(walk)
    assert factory.drive(again).status is RunStatus.SUCCEEDED
    outcomes = [attempt.outcome for attempt in factory.attempts(walk.run, "gate")]
    assert outcomes == [Outcome.LOST, Outcome.SUCCEEDED]
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert len(tx.list_approvals(run_id=walk.run.id)) == 1


# --- runs that end


def cancelled(factory: SmallFactory, run: Run) -> Run:
    return cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")


def failed(factory: SmallFactory, run: Run) -> Run:
    return end_run(factory.store, factory.clock, TENANT, run.id, RunStatus.FAILED, "broken")


@pytest.mark.parametrize("end", [cancelled, failed])
def test_what_an_ended_run_asked_is_withdrawn_and_cannot_be_decided(
    factory: SmallFactory, end: Callable[[SmallFactory, Run], Run]
):
    approval = approval_of(factory, run := waiting(factory))
    ended = end(factory, run)
    assert approval_of(factory, run).status is ApprovalStatus.WITHDRAWN
    with pytest.raises(ConflictError, match="is withdrawn already"):
        vote(factory, approval)
    assert factory.run(run) == ended


def test_what_a_job_asked_that_then_failed_is_withdrawn_with_its_run(factory: SmallFactory):
    def asks_and_fails(context: AttemptContext, with_: object) -> JobResult:
        context.ask(Question("May it?"))
        raise ValueError(with_)

    factory.on["a"] = asks_and_fails  # pyright: ignore[reportArgumentType] - the engine's own
    done = factory.complete("steps: [{name: a, type: act}]\n")
    assert done.status is RunStatus.FAILED
    assert approval_of(factory, done).status is ApprovalStatus.WITHDRAWN


def test_a_run_that_is_being_cancelled_is_not_decided_upon(factory: SmallFactory):
    walk = factory.start(asks())
    factory.attempt(walk, "gate")
    asked = cancelled(factory, walk.run)
    assert asked.status is RunStatus.RUNNING
    with pytest.raises(ConflictError, match="being cancelled"):
        vote(factory, approval_of(factory, walk.run))
    assert factory.run(walk.run) == asked


def test_a_grant_and_a_cancel_at_once_leave_one_of_both(factory: SmallFactory):
    run = waiting(factory)
    approval = approval_of(factory, run)
    together = Barrier(2)

    def grant() -> str:
        together.wait(10)
        try:
            return vote(factory, approval).approval.status
        except ConflictError:
            return "refused"

    def cancel() -> str:
        together.wait(10)
        return cancelled(factory, run).status

    with ThreadPoolExecutor(2) as pool:
        said, ended = [pool.submit(task) for task in (grant, cancel)]
    assert ended.result() == "Cancelled"
    expected = {"granted": ApprovalStatus.GRANTED, "refused": ApprovalStatus.WITHDRAWN}
    assert approval_of(factory, run).status is expected[said.result()]
    assert factory.run(run).status is RunStatus.CANCELLED


# --- again


def retried(factory: SmallFactory, run: Run) -> Walk:
    again = retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
    return factory.take_up(again, str(run.flow_run_id))


def test_what_was_denied_is_asked_anew_when_the_run_goes_round_again(factory: SmallFactory):
    run = waiting(factory)
    vote(factory, denied := approval_of(factory, run), granted=False)
    go_on(factory, run)
    walk = retried(factory, run)
    assert isinstance(factory.attempt(walk, "gate"), AnotherAttempt)
    with factory.store.begin(TENANT, read_only=True) as tx:
        before, anew = tx.list_approvals(run_id=run.id)
    assert (before.id, before.status) == (denied.id, ApprovalStatus.DENIED)
    assert (anew.status, anew.cycle, anew.plan_digest) == (
        ApprovalStatus.OPEN, 1, denied.plan_digest,
    )  # fmt: skip
    assert len(factory.messages(NOTICE)) >= 2
    assert vote(factory, anew).approval.status is ApprovalStatus.GRANTED, "who denied it before"
    assert factory.drive(walk).status is RunStatus.SUCCEEDED


def test_what_was_granted_for_this_plan_stands_when_its_job_goes_round_again(
    factory: SmallFactory,
):
    run = waiting(factory)
    vote(factory, approval_of(factory, run))
    failed(factory, run)  # before its job could say so
    walk = retried(factory, run)
    assert factory.attempt(walk, "gate") == SUCCEEDED
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert len(tx.list_approvals(run_id=run.id)) == 1


def with_another_plan(factory: SmallFactory, run: Run, digest: str) -> Run:
    with factory.store.begin(TENANT) as tx:
        current = tx.lock_run(run.id)
        changed = current.changed(
            factory.clock.now(), plan=Body(reference=BodyReference(digest, 1))
        )
        tx.save_run(current, changed)
        return changed


def test_a_grant_is_for_its_plan_alone(factory: SmallFactory):
    walk = factory.start(asks())
    begun = factory.begin(walk, "gate")
    question = Question("May it?", ("grace",))
    granted = AttemptContext(factory.engine, walk, begun).ask(question)
    vote(factory, granted)
    other = with_another_plan(factory, walk.run, "d" * 64)
    with factory.store.begin(TENANT) as tx:
        asked = ask(tx, other, begun.job, question, factory.clock.now())
        again = ask(tx, walk.run, begun.job, question, factory.clock.now())
    assert (asked.status, asked.plan_digest) == (ApprovalStatus.OPEN, "d" * 64)
    assert asked.id != granted.id
    assert (again.id, again.status) == (granted.id, ApprovalStatus.GRANTED)


def test_who_changed_the_plan_may_not_decide_it(factory: SmallFactory):
    run = waiting(factory, asks(by=["grace", "linus"]))
    vote(factory, approval_of(factory, run), "linus", granted=False)
    go_on(factory, run)
    changed = Change(timeout_seconds=77)
    again = retry_run(
        factory.store, factory.clock, TENANT, run.id, "grace", desk=factory.desk, change=changed
    )
    walk = factory.take_up(again, str(run.flow_run_id))
    factory.attempt(walk, "gate")
    asked = approval_of(factory, run)
    assert asked.plan_digest != approval_digest_of(run)
    with pytest.raises(NotAllowedError, match="grace changed the run's plan"):
        vote(factory, asked, "grace")
    assert vote(factory, asked, "linus").approval.status is ApprovalStatus.GRANTED


def approval_digest_of(run: Run) -> str:
    assert run.plan is not None
    assert run.plan.reference is not None
    return run.plan.reference.digest


def test_who_sent_the_same_plan_round_again_may_decide_it(factory: SmallFactory):
    run = waiting(factory)
    vote(factory, approval_of(factory, run), granted=False)
    go_on(factory, run)
    again = retry_run(factory.store, factory.clock, TENANT, run.id, "grace")
    factory.attempt(factory.take_up(again, str(run.flow_run_id)), "gate")
    decided = vote(factory, approval_of(factory, run), "grace")
    assert decided.approval.status is ApprovalStatus.GRANTED


def test_what_was_asked_for_another_plan_is_not_decided_any_more(factory: SmallFactory):
    run = waiting(factory)
    approval, changed = approval_of(factory, run), with_another_plan(factory, run, "d" * 64)
    with pytest.raises(ConflictError, match="is for another plan"):
        vote(factory, approval)
    assert votes_of(factory, approval) == ()
    assert factory.run(run) == changed
