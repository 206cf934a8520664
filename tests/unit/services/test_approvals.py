"""Questions to people: who may answer, how often, until when, and what goes on of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.domain.approval import ApprovalStatus, Question
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
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import Decided, decide
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext
from factory_runtime.services.topics import NOTICE, PREFECT_EVENT
from tests.approvals import ASKS, DAY, approval_of, asks, audit_of, go_on, vote, votes_of, waiting
from tests.builders import TENANT
from tests.small_factory import SmallFactory


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
        ({"by": []}, "by"),
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
