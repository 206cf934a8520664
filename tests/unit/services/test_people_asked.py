"""When people are asked, when they are no longer, and whether there are enough of them."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.approval import ApprovalStatus, Question
from factory_runtime.domain.dead_letter import Change, LetterFilter
from factory_runtime.domain.errors import ApprovalWithdrawnError, ConflictError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.notice import notice_from_payload
from factory_runtime.domain.run import PREFECT, Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import Walk, stop_walking
from factory_runtime.services.pause_run import pause_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.sweep import sweep
from factory_runtime.services.topics import NOTICE, UNDO_RUN
from tests.approvals import DAY, approval_of, asks, go_on, vote, waiting
from tests.builders import NOON, TENANT
from tests.small_factory import SUCCEEDED, SmallFactory, fails

HOUR = timedelta(hours=1)
TWO_HOURS = "deadline: 2h\n"
BOTH = """
deadline: 2h
steps:
  - {name: first, type: approval, with: {message: May it?, expires: 1d}}
  - {name: second, type: approval, with: {message: May it?, expires: 3d}}
  - {name: b, type: act, needs: [first, second]}
"""


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


def swept(factory: SmallFactory, run: Run) -> RunStatus:
    sweep(factory.store, factory.clock)
    return factory.run(run).status


def times(factory: SmallFactory, run: Run) -> tuple[object, object]:
    now = factory.run(run)
    return now.deadline_at, now.people_asked_at


def test_the_time_in_which_people_are_asked_does_not_count_against_the_deadline(
    factory: SmallFactory,
):
    run = waiting(factory, TWO_HOURS + asks())
    assert times(factory, run) == (NOON + 2 * HOUR, NOON)
    factory.clock.pass_time(3 * DAY)
    assert swept(factory, run) is RunStatus.WAITING
    vote(factory, approval_of(factory, run))
    assert times(factory, run) == (NOON + 3 * DAY + 2 * HOUR, None)
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_the_deadline_goes_on_once_people_have_answered(factory: SmallFactory):
    run = waiting(factory, TWO_HOURS + asks())
    factory.clock.pass_time(3 * DAY)
    vote(factory, approval_of(factory, run))
    factory.clock.pass_time(2 * HOUR - timedelta(microseconds=1))
    assert swept(factory, run) is RunStatus.WAITING
    factory.clock.pass_time(timedelta(microseconds=1))
    assert swept(factory, run) is RunStatus.CANCELLED
    assert factory.run(run).error == "cancelled by its deadline"


def test_it_stands_still_until_the_last_of_several_is_decided(factory: SmallFactory):
    run = waiting(factory, BOTH)
    with factory.store.begin(TENANT, read_only=True) as tx:
        first, second = tx.list_approvals(run_id=run.id)
    factory.clock.pass_time(10 * HOUR)
    vote(factory, first)
    assert times(factory, run) == (NOON + 2 * HOUR, NOON)
    factory.clock.pass_time(10 * HOUR)
    vote(factory, second)
    assert times(factory, run) == (NOON + 22 * HOUR, None)


def test_one_vote_of_several_lets_the_deadline_stand(factory: SmallFactory):
    run = waiting(factory, TWO_HOURS + asks(count=2))
    factory.clock.pass_time(DAY)
    vote(factory, approval_of(factory, run), "grace")
    assert times(factory, run) == (NOON + 2 * HOUR, NOON)


def test_a_question_that_expires_has_the_deadline_go_on(factory: SmallFactory):
    run = waiting(factory, BOTH)
    factory.clock.pass_time(2 * DAY)
    walk = factory.take_up(run, str(run.flow_run_id))
    factory.attempt(walk, "first")
    assert times(factory, run) == (NOON + 2 * HOUR, NOON)
    factory.clock.pass_time(2 * DAY)
    factory.attempt(walk, "second")
    assert times(factory, run) == (NOON + 4 * DAY + 2 * HOUR, None)


def test_a_run_without_a_deadline_gets_none_by_asking(in_memory: SmallFactory):
    run = waiting(in_memory, asks())
    assert times(in_memory, run) == (None, NOON)
    vote(in_memory, approval_of(in_memory, run))
    assert times(in_memory, run) == (None, None)


def test_a_deadline_at_the_end_of_the_calendar_stays_there(in_memory: SmallFactory):
    walk = in_memory.start(asks(), deadline=timedelta(days=365 * 7900))
    in_memory.attempt(walk, "gate")
    before = in_memory.run(walk.run).deadline_at
    in_memory.clock.at = NOON + timedelta(days=365 * 200)
    in_memory.attempt(walk, "gate")
    assert times(in_memory, walk.run) == (before, None)


def test_a_run_that_is_paused_while_people_are_asked_keeps_its_time(in_memory: SmallFactory):
    run = waiting(in_memory, TWO_HOURS + asks())
    pause_run(in_memory.store, in_memory.clock, TENANT, run.id, "ada")
    in_memory.clock.pass_time(3 * DAY)
    assert swept(in_memory, run) is RunStatus.PAUSED
    vote(in_memory, approval_of(in_memory, run))
    assert times(in_memory, run) == (NOON + 3 * DAY + 2 * HOUR, None)


def test_while_people_are_asked_a_run_can_be_cancelled_by_people_alone(factory: SmallFactory):
    run = waiting(factory, TWO_HOURS + asks())
    factory.clock.pass_time(DAY)
    assert swept(factory, run) is RunStatus.WAITING
    cancelled = cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")
    assert (cancelled.status, cancelled.people_asked_at) == (RunStatus.CANCELLED, None)


def test_one_that_was_asked_to_stop_is_swept_while_people_are_asked(in_memory: SmallFactory):
    walk = in_memory.start(TWO_HOURS + asks())
    in_memory.attempt(walk, "gate")
    asked = cancel_run(in_memory.store, in_memory.clock, TENANT, walk.run.id, "ada")
    assert asked.status is RunStatus.RUNNING
    stop_walking(in_memory.engine, walk)
    assert swept(in_memory, walk.run) is RunStatus.CANCELLED


def test_a_retried_run_has_as_much_time_as_at_first_however_long_people_took(
    factory: SmallFactory,
):
    run = waiting(factory, TWO_HOURS + asks())
    for _ in range(2):
        factory.clock.pass_time(3 * DAY)
        vote(factory, approval_of(factory, run), granted=False)
        assert go_on(factory, run).status is RunStatus.FAILED
        factory.clock.pass_time(HOUR)
        retried = retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
        assert retried.deadline_at == factory.clock.now() + 2 * HOUR
        walk = factory.take_up(retried, str(run.flow_run_id))
        factory.attempt(walk, "gate")
        put_down(factory.engine, walk, RunStatus.WAITING, approval_of(factory, run).expires_at)


# --- runs that are to be undone

UNDONE = """
deadline: 2h
steps:
  - {name: gate, type: approval, with: {message: May it?}}
  - {name: slow, type: act}
  - {name: bad, type: act, on_failure: compensate}
  - {name: b, type: act, needs: [gate]}
"""


def to_be_undone(factory: SmallFactory) -> Walk:
    """A run whose gate waits for people, and of which another job then fails."""
    factory.on["bad"] = fails(ValueError("no"))
    walk = factory.start(UNDONE)
    factory.attempt(walk, "gate")
    factory.clock.pass_time(HOUR)
    factory.attempt(walk, "bad")
    return walk


def test_a_run_that_is_to_be_undone_waits_for_people_no_longer(factory: SmallFactory):
    walk = to_be_undone(factory)
    run = factory.run(walk.run)
    assert approval_of(factory, run).status is ApprovalStatus.WITHDRAWN
    assert (run.people_asked_at, run.deadline_at) == (None, NOON + 3 * HOUR)
    assert factory.jobs(run)["gate"].not_before == factory.clock.now(), "it is woken"
    with pytest.raises(ConflictError, match="is withdrawn already"):
        vote(factory, approval_of(factory, run))
    ended = factory.drive(walk)
    assert (ended.status, ended.undo_requested_by) == (RunStatus.FAILED, "system")
    assert len(factory.messages(UNDO_RUN)) == 1
    gate = factory.jobs(run)["gate"]
    assert gate.status is JobStatus.FAILED
    assert "nobody has to decide" in str(gate.error)


def test_what_nobody_has_to_decide_any_more_leaves_no_dead_letter(in_memory: SmallFactory):
    walk = to_be_undone(in_memory)
    in_memory.drive(walk)
    with in_memory.store.begin(TENANT, read_only=True) as tx:
        assert [one.step for one in tx.list_dead_letters(LetterFilter())] == ["bad"]


def test_a_process_that_takes_over_what_is_to_be_undone_waits_for_nobody(factory: SmallFactory):
    walk = to_be_undone(factory)
    again = factory.take_over(walk)
    assert factory.drive(again).status is RunStatus.FAILED
    assert approval_of(factory, walk.run).status is ApprovalStatus.WITHDRAWN


def test_a_job_that_was_about_to_ask_asks_nobody_for_a_run_that_is_to_be_undone(
    in_memory: SmallFactory,
):
    in_memory.on["bad"] = fails(ValueError("no"))
    walk = in_memory.start(UNDONE)
    begun = in_memory.begin(walk, "gate")
    in_memory.attempt(walk, "bad")
    with pytest.raises(ApprovalWithdrawnError, match="the run is to be undone"):
        AttemptContext(in_memory.engine, walk, begun).ask(Question("May it?"))
    with in_memory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_approvals() == ()
    assert [m for m in in_memory.messages(NOTICE) if m.key.startswith("approval")] == []


def test_what_was_granted_before_the_run_is_to_be_undone_stands(in_memory: SmallFactory):
    in_memory.on["bad"] = fails(ValueError("no"))
    walk = in_memory.start(UNDONE)
    in_memory.attempt(walk, "gate")
    vote(in_memory, approval_of(in_memory, walk.run))
    in_memory.attempt(walk, "bad")
    assert in_memory.attempt(walk, "gate") == SUCCEEDED


def test_a_failure_that_undoes_nothing_leaves_people_asked(in_memory: SmallFactory):
    in_memory.on["slow"] = fails(ValueError("no"))
    walk = in_memory.start(UNDONE)
    in_memory.attempt(walk, "gate")
    in_memory.attempt(walk, "slow")
    assert approval_of(in_memory, walk.run).status is ApprovalStatus.OPEN


# --- who is left to decide


def why_it_failed(factory: SmallFactory, **more: object) -> str:
    walk = factory.start(asks(**more))
    factory.attempt(walk, "gate")
    gate = factory.jobs(walk.run)["gate"]
    assert gate.status is JobStatus.FAILED
    assert factory.attempts(walk.run, "gate")[-1].error_code == "nobody-may-approve"
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_approvals() == ()
    assert factory.run(walk.run).people_asked_at is None
    return str(gate.error).splitlines()[0]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"by": ["ada"]}, "only ada may approve this, and ada requested it"),
        (
            {"by": ["ada", "grace"], "count": 2},
            "only ada and grace may approve this, and ada requested it, and 2 have to",
        ),
        (
            {"by": ["ada"], "escalate": {"after": "1d", "to": ["ada"]}},
            "only ada may approve this, and ada requested it",
        ),
    ],
)
def test_a_job_whose_only_deciders_may_not_decide_fails_at_once(
    in_memory: SmallFactory, more: dict[str, object], why: str
):
    assert why_it_failed(in_memory, **more) == why


def test_a_job_fails_at_once_where_those_who_may_changed_the_plan(factory: SmallFactory):
    run = waiting(factory, asks(by=["grace"]))
    vote(factory, approval_of(factory, run), granted=False)
    go_on(factory, run)
    again = retry_run(
        factory.store, factory.clock, TENANT, run.id, "grace",
        desk=factory.desk, change=Change(timeout_seconds=77),
    )  # fmt: skip
    assert again.plan_changed_by == ("grace",)
    walk = factory.take_up(again, str(run.flow_run_id))
    factory.attempt(walk, "gate")
    said = str(factory.jobs(run)["gate"].error)
    assert "only grace may approve this, and grace changed its plan" in said


def test_where_only_those_who_may_later_are_left_they_are_asked_at_once(factory: SmallFactory):
    run = waiting(factory, asks(by=["ada"], escalate={"after": "1d", "to": ["boss"]}))
    approval = approval_of(factory, run)
    assert approval.escalated_at == approval.escalate_at == approval.requested_at == NOON
    (message,) = factory.messages(NOTICE)
    notice = notice_from_payload(message.payload)
    assert notice.title == "Approval wanted: May it?"
    assert "ada or boss" in notice.body
    assert run.wake_at == approval.expires_at, "there is nobody to ask later"
    vote(factory, approval, "boss")
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("by", [["ada", "group:ops"], ["ada", "grace"]])
def test_a_group_or_another_name_is_enough(in_memory: SmallFactory, by: list[str]):
    approval = approval_of(in_memory, waiting(in_memory, asks(by=by)))
    assert (approval.status, approval.escalated_at) == (ApprovalStatus.OPEN, None)


# --- runs of which nobody knows who requested them


def test_where_nobody_knows_who_requested_the_run_one_vote_more_is_wanted(factory: SmallFactory):
    walk = factory.start(asks(), requested_by=PREFECT)
    waits = factory.attempt(walk, "gate")
    assert isinstance(waits, AnotherAttempt)
    run = put_down(factory.engine, walk, RunStatus.WAITING, waits.not_before)
    (message,) = factory.messages(NOTICE)
    body = notice_from_payload(message.payload).body
    assert "nobody knows who requested it: one vote more is wanted" in body
    assert ", 2 of them" in body
    approval = approval_of(factory, run)
    assert vote(factory, approval, "grace").approval.status is ApprovalStatus.OPEN
    vote(factory, approval, "grace")
    assert approval_of(factory, run).status is ApprovalStatus.OPEN, "one person has one vote"
    assert vote(factory, approval, "linus").approval.status is ApprovalStatus.GRANTED
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_one_name_is_too_few_where_nobody_knows_who_requested_the_run(in_memory: SmallFactory):
    walk = in_memory.start(asks(by=["grace"]), requested_by=PREFECT)
    in_memory.attempt(walk, "gate")
    assert "only grace may approve this, and 2 have to, as nobody knows who requested it" in str(
        in_memory.jobs(walk.run)["gate"].error
    )
