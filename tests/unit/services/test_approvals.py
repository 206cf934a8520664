"""Questions to people: who may answer, how often, until when, and what goes on of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.domain.approval import Approval, ApprovalStatus, Question, Vote
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    ApprovalNotFoundError,
    ConflictError,
    FactoryError,
    InputError,
    LeaseLostError,
    NotAllowedError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.notice import notice_from_payload
from factory_runtime.domain.records import AuditEntry
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunKey
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import Decided, decide
from factory_runtime.services.ask_people import ask
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import Walk, stop_walking
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.sweep import sweep
from factory_runtime.services.topics import NOTICE, PREFECT_EVENT
from tests.builders import TENANT
from tests.small_factory import SUCCEEDED, SmallFactory

ASKS = """
steps:
  - {name: a, type: act}
  - {name: gate, type: approval, needs: [a], with: {message: May it?, by: [grace, "group:ops"]}}
  - {name: b, type: act, needs: [gate]}
"""
DAY = timedelta(days=1)


def asks(**more: object) -> str:
    """A template of one approval, by grace, linus or ops, and one job behind it."""
    given = {"message": "May it?", "by": ["grace", "linus", "group:ops"], **more}
    return f"steps:\n  - {{name: gate, type: approval, with: {given}}}\n  - {{name: b, type: act, needs: [gate]}}\n"


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


def waiting(factory: SmallFactory, text: str = ASKS) -> Run:
    """A run that waits for people, with no process."""
    walk = factory.start(text)
    for name in factory.ready(walk):
        factory.attempt(walk, name)
    for name in factory.ready(walk):
        if walk.jobs[name].status is JobStatus.PENDING:
            factory.attempt(walk, name)
    dues = [job.not_before for job in factory.jobs(walk.run).values() if job.not_before]
    return put_down(factory.engine, walk, RunStatus.WAITING, min(dues))


def approval_of(factory: SmallFactory, run: Run) -> Approval:
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.list_approvals(run_id=run.id)[-1]


def votes_of(factory: SmallFactory, approval: Approval) -> tuple[Vote, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_votes(approval.id)


def audit_of(factory: SmallFactory, approval: Approval) -> tuple[AuditEntry, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_audit(subject=approval.id)


def vote(
    factory: SmallFactory,
    approval: Approval,
    person: str = "grace",
    *groups: str,
    granted: bool = True,
    comment: str = "",
) -> Decided:
    comment = comment or ("" if granted else "no")
    return decide(
        factory.store, factory.clock, TENANT, approval.id, person, groups, granted, comment
    )


def go_on(factory: SmallFactory, run: Run) -> Run:
    """As a dispatcher and an executor do that find the run in the queue."""
    assert factory.store.waiting_runs(factory.clock.now()) == (RunKey(run.tenant_id, run.id),)
    walk = factory.take_up(run, str(run.flow_run_id))
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    return ended


# --- asking


def test_a_run_that_waits_for_people_holds_no_process_and_no_slot(factory: SmallFactory):
    run = waiting(factory)
    approval, job = approval_of(factory, run), factory.jobs(run)["gate"]
    assert (run.status, run.admitted_at, factory.walker(run)) == (RunStatus.WAITING, None, None)
    assert (job.status, job.lease_owner, job.failures) == (JobStatus.WAITING, None, 0)
    assert job.not_before == run.wake_at == approval.expires_at == factory.clock.now() + 7 * DAY
    assert job.phrase == f"waits for grace or group:ops to approve ({approval.id})"
    assert factory.store.waiting_runs(factory.clock.now()) == ()


def test_what_is_asked_is_bound_to_the_plan_and_to_who_requested_it(factory: SmallFactory):
    run = waiting(factory)
    approval = approval_of(factory, run)
    assert run.plan is not None
    assert run.plan.reference is not None
    assert approval.plan_digest == run.plan.reference.digest
    assert (approval.requested_by, approval.project_id) == (run.requested_by, run.project_id)
    assert (approval.by, approval.count, approval.cycle) == (("grace", "group:ops"), 1, 0)


def test_however_often_a_job_asks_people_are_asked_and_told_once(factory: SmallFactory):
    walk = factory.start(ASKS)
    factory.finish(walk, "a")
    for _ in range(3):
        assert isinstance(factory.attempt(walk, "gate"), AnotherAttempt)
    with factory.store.begin(TENANT, read_only=True) as tx:
        (approval,) = tx.list_approvals()
    (message,), (event,) = factory.messages(NOTICE), factory.messages(PREFECT_EVENT)
    notice = notice_from_payload(message.payload)
    assert (notice.key, notice.run_id) == (f"approval-wanted:{approval.id}", walk.run.id)
    assert event.payload == message.payload
    assert "May it?" in notice.title
    for part in (
        "grace or group:ops",
        "requested by ada",
        f"factory approvals grant {approval.id} --tenant {TENANT}",
        "2026-11-28 12:00 UTC",
    ):
        assert part in notice.body
    (told,) = factory.events(walk.run, "approval")
    assert told.detail == {
        "approval": approval.id,
        "said": "asked",
        "who": "grace or group:ops",
    }


def test_who_has_lost_the_job_asks_nobody(factory: SmallFactory):
    walk = factory.start(asks())
    begun = factory.begin(walk, "gate")
    factory.take_over(walk)
    with pytest.raises(LeaseLostError):
        AttemptContext(factory.engine, walk, begun).ask(Question("May it?"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_approvals() == ()
    assert factory.messages(NOTICE) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"expires": "0s"}, "no time to wait"),
        ({"expires": "soon"}, "expires"),
        ({"by": ["grace"], "count": 2}, "only grace may"),
        ({"count": 0}, "count"),
        ({"by": "grace"}, "by"),
        ({"escalate": {"after": "8d", "to": ["linus"]}}, "before it escalates"),
        ({"escalate": {"after": "1d", "to": []}}, "escalate"),
        ({"message": ""}, "message"),
    ],
)
def test_a_question_that_makes_no_sense_fails_its_job_and_asks_nobody(
    in_memory: SmallFactory, more: dict[str, object], said: str
):
    walk = in_memory.start("steps: [{name: gate, type: approval, with: {message: x}}]\n")
    given = {"message": "May it?", **more}
    job = replace(walk.plan.jobs[0], with_=given)
    walk.plan = replace(walk.plan, jobs=(job,))
    ended = in_memory.finish(walk, "gate")
    assert ended.status is JobStatus.FAILED
    assert said in str(in_memory.jobs(walk.run)["gate"].error)
    with in_memory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_approvals() == ()


# --- deciding


def test_a_granted_approval_lets_the_run_go_on_at_once(factory: SmallFactory):
    run = waiting(factory)
    approval = approval_of(factory, run)
    decided = vote(factory, approval, comment="looks good")
    assert decided.approval == approval_of(factory, run)
    assert (decided.approval.status, decided.counted) == (ApprovalStatus.GRANTED, True)
    done = go_on(factory, run)
    assert done.status is RunStatus.SUCCEEDED
    assert factory.moves(run, "gate") == ["Running", "Waiting", "Running", "Succeeded"]
    gate = factory.jobs(run)["gate"]
    assert gate.outputs is not None
    assert gate.outputs.inline == {
        "approved_by": ["grace"],
        "comments": ["grace: looks good"],
        "at": "2026-11-21T12:00:00+00:00",
        "digest": approval.plan_digest,
    }


def test_a_denied_approval_fails_the_run_with_who_and_why(factory: SmallFactory):
    run = waiting(factory)
    approval = approval_of(factory, run)
    assert vote(factory, approval, granted=False, comment="not on a Friday").counted
    done = go_on(factory, run)
    assert done.status is RunStatus.FAILED
    jobs = factory.jobs(run)
    assert "denied by grace: not on a Friday" in str(jobs["gate"].error)
    assert factory.attempts(run, "gate")[-1].error_code == "approval-denied"
    assert (jobs["a"].status, jobs["b"].status) == (JobStatus.SUCCEEDED, JobStatus.SKIPPED)


@pytest.mark.parametrize(
    ("person", "groups"), [("grace", ()), ("anybody", ("ops",)), ("anybody", ("x", "ops"))]
)
def test_those_who_are_named_may_decide_themselves_or_by_their_group(
    in_memory: SmallFactory, person: str, groups: tuple[str, ...]
):
    approval = approval_of(in_memory, waiting(in_memory))
    assert vote(in_memory, approval, person, *groups).approval.status is ApprovalStatus.GRANTED


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize(
    ("person", "groups"),
    [
        ("ada", ()),  # who requested the run
        ("ada", ("ops",)),
        ("mallory", ()),
        ("mallory", ("grace",)),  # a group that is called as a user
        ("ops", ()),  # a user who is called as a group
        ("GRACE", ()),
        ("group:ops", ()),
        ("", ()),
    ],
)
def test_whoever_is_not_named_or_requested_the_run_may_not(
    in_memory: SmallFactory, person: str, groups: tuple[str, ...], granted: bool
):
    run = waiting(in_memory)
    approval = approval_of(in_memory, run)
    with pytest.raises(NotAllowedError) as refused:
        vote(in_memory, approval, person, *groups, granted=granted)
    assert "grace or group:ops" in str(refused.value.hint)
    assert approval_of(in_memory, run) == approval
    assert votes_of(in_memory, approval) == audit_of(in_memory, approval) == ()
    assert in_memory.run(run) == run


def test_every_vote_is_written_down_with_who_what_and_why(factory: SmallFactory):
    run = waiting(factory, asks(count=2))
    approval = approval_of(factory, run)
    vote(factory, approval, "grace", comment="fine")
    factory.clock.pass_time()
    vote(factory, approval, "linus", granted=False, comment="not\nfine")
    second, first = audit_of(factory, approval)
    assert (first.actor, first.action) == ("grace", "approval.grant")
    assert (second.actor, second.action) == ("linus", "approval.deny")
    assert first.detail == {
        "run_id": run.id,
        "step": "gate",
        "plan_digest": approval.plan_digest,
        "comment": "fine",
        "status": "open",
    }
    assert (second.detail["comment"], second.detail["status"]) == ("not\nfine", "denied")
    said = [event.detail for event in factory.events(run, "approval")][1:]
    assert said == [
        {"approval": approval.id, "said": "granted", "by": "grace", "comment": "fine"},
        {"approval": approval.id, "said": "denied", "by": "linus", "comment": "not\nfine"},
    ]


@pytest.mark.parametrize(
    "comment", ["'; DROP TABLE approvals; --", "a\nb\tc", "ä€😀", "x" * 100_000, "${{ inputs.x }}"]
)
def test_a_comment_is_kept_as_it_was_given(factory: SmallFactory, comment: str):
    run = waiting(factory)
    vote(factory, approval_of(factory, run), comment=comment)
    assert [vote.comment for vote in votes_of(factory, approval_of(factory, run))] == [comment]
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("comment", ["", "  \n"])
def test_who_denies_it_says_why(in_memory: SmallFactory, comment: str):
    approval = approval_of(in_memory, waiting(in_memory))
    with pytest.raises(InputError, match="says why"):
        decide(in_memory.store, in_memory.clock, TENANT, approval.id, "grace", (), False, comment)
    assert votes_of(in_memory, approval) == ()


def test_as_many_have_to_grant_it_as_it_says(factory: SmallFactory):
    run = waiting(factory, asks(count=3))
    approval = approval_of(factory, run)
    for person, group in (("grace", "dev"), ("linus", "dev")):
        assert vote(factory, approval, person, group).approval.status is ApprovalStatus.OPEN
        assert factory.store.waiting_runs(factory.clock.now()) == ()
        assert factory.run(run) == run
    decided = vote(factory, approval, "anybody", "ops")
    assert decided.approval.status is ApprovalStatus.GRANTED
    assert go_on(factory, run).status is RunStatus.SUCCEEDED
    gate = factory.jobs(run)["gate"].outputs
    assert gate is not None
    assert gate.inline["approved_by"] == ["anybody", "grace", "linus"]


def test_one_who_denies_it_decides_alone(in_memory: SmallFactory):
    run = waiting(in_memory, asks(count=3))
    approval = approval_of(in_memory, run)
    vote(in_memory, approval, "grace")
    assert (
        vote(in_memory, approval, "linus", granted=False).approval.status is ApprovalStatus.DENIED
    )
    assert go_on(in_memory, run).status is RunStatus.FAILED


def test_anybody_but_who_requested_it_may_where_nobody_is_named(in_memory: SmallFactory):
    run = waiting(in_memory, "steps: [{name: gate, type: approval, with: {message: May it?}}]\n")
    approval = approval_of(in_memory, run)
    with pytest.raises(NotAllowedError, match="requested the run") as refused:
        vote(in_memory, approval, "ada")
    assert refused.value.hint == "ask anybody but who requested it"
    assert vote(in_memory, approval, "zoe").approval.status is ApprovalStatus.GRANTED


def test_the_very_same_vote_again_changes_nothing_and_says_so(factory: SmallFactory):
    approval = approval_of(factory, run := waiting(factory, asks(count=2)))
    first = vote(factory, approval, comment="fine")
    factory.clock.pass_time()
    again = vote(factory, approval, comment="fine")
    assert (again.counted, again.approval, again.votes) == (False, first.approval, first.votes)
    assert len(audit_of(factory, approval)) == 1
    vote(factory, approval, "linus")
    go_on(factory, run)
    assert not vote(factory, approval, comment="fine").counted, "also when all is over"


@pytest.mark.parametrize(("granted", "comment"), [(False, "on second thoughts"), (True, "really")])
def test_a_person_has_one_vote(in_memory: SmallFactory, granted: bool, comment: str):
    approval = approval_of(in_memory, waiting(in_memory, asks(count=2)))
    vote(in_memory, approval, comment="fine")
    with pytest.raises(ConflictError, match=r"grace has granted .* already"):
        vote(in_memory, approval, granted=granted, comment=comment)
    assert [one.comment for one in votes_of(in_memory, approval)] == ["fine"]
    assert len(audit_of(in_memory, approval)) == 1


def test_what_was_decided_stays_so(factory: SmallFactory):
    approval = approval_of(factory, run := waiting(factory))
    vote(factory, approval)
    with pytest.raises(ConflictError, match="is granted already"):
        vote(factory, approval, "zoe", "ops", granted=False)
    assert approval_of(factory, run).status is ApprovalStatus.GRANTED
    assert [one.person for one in votes_of(factory, approval)] == ["grace"]


def test_an_approval_of_another_tenant_is_not_there(factory: SmallFactory):
    approval = approval_of(factory, waiting(factory))
    for tenant, which in (("other", approval.id), (TENANT, "appr-0")):
        with pytest.raises(ApprovalNotFoundError):
            decide(factory.store, factory.clock, tenant, which, "grace", (), True)


def at_once(*tasks: Callable[[], Decided]) -> list[str]:
    """Do all of them at the same time; how each went."""
    together = Barrier(len(tasks))

    def do(task: Callable[[], Decided]) -> str:
        together.wait(10)
        try:
            decided = task()
        except FactoryError as error:
            return error.code
        return decided.approval.status if decided.counted else "counted before"

    with ThreadPoolExecutor(len(tasks)) as pool:
        return sorted(pool.map(do, tasks))


def test_of_two_who_grant_it_at_once_both_count_and_one_decides(factory: SmallFactory):
    run = waiting(factory, asks(count=2))
    approval = approval_of(factory, run)
    answers = at_once(
        lambda: vote(factory, approval, "grace"), lambda: vote(factory, approval, "linus")
    )
    assert answers == ["granted", "open"]
    assert {one.person for one in votes_of(factory, approval)} == {"grace", "linus"}
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


def test_of_two_who_say_otherwise_at_once_one_decides(factory: SmallFactory):
    run = waiting(factory, asks())
    approval = approval_of(factory, run)
    answers = at_once(
        lambda: vote(factory, approval, "grace"),
        lambda: vote(factory, approval, "linus", granted=False),
    )
    assert answers in (["conflict", "granted"], ["conflict", "denied"])
    (said,) = votes_of(factory, approval)
    wanted = RunStatus.SUCCEEDED if said.granted else RunStatus.FAILED
    assert go_on(factory, run).status is wanted


def test_of_one_vote_sent_many_times_at_once_one_counts(factory: SmallFactory):
    run = waiting(factory)
    approval = approval_of(factory, run)
    answers = at_once(*[lambda: vote(factory, approval)] * 4)
    assert answers == ["counted before"] * 3 + ["granted"]
    assert len(audit_of(factory, approval)) == 1
    assert go_on(factory, run).status is RunStatus.SUCCEEDED


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
    approval = approval_of(in_memory, waiting(in_memory, asks(by=[], escalate=ESCALATES)))
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


def test_a_run_past_its_deadline_asks_nobody_any_more(factory: SmallFactory):
    run = waiting(factory, "deadline: 2h\n" + asks())
    factory.clock.pass_time(timedelta(hours=2))
    assert sweep(factory.store, factory.clock).cancelled == 1
    assert factory.run(run).status is RunStatus.CANCELLED
    assert approval_of(factory, run).status is ApprovalStatus.WITHDRAWN
    with pytest.raises(ConflictError, match="withdrawn"):
        vote(factory, approval_of(factory, run))


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
