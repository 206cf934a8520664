"""The run store's contract: approvals, effects that settle, policies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import (
    ApprovalNotFoundError,
    NotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from tests.builders import (
    TENANT,
    a_job,
    a_policy_record,
    a_run,
    a_vote,
    after,
    an_approval,
    an_effect,
)

# --- approvals


def test_an_approval_comes_back_as_it_went_in(run_store: RunStore, job: Job) -> None:
    approval = an_approval(
        job, by=(), escalate_at=after(60), escalate_to=("group:ops", "ö"), escalated_at=after(61)
    )
    with run_store.begin(TENANT) as tx:
        assert tx.add_approval(approval) == approval
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_approval(approval.id) == approval
        assert tx.find_approval(job.run_id, job.step, approval.plan_digest) == approval
        assert tx.find_approval(job.run_id, job.step, "e" * 64) is None
        with pytest.raises(ApprovalNotFoundError):
            tx.get_approval("approval-0")


def test_a_plan_is_asked_about_once_in_a_cycle(run_store: RunStore, job: Job) -> None:
    first = an_approval(job)
    with run_store.begin(TENANT) as tx:
        tx.add_approval(first)
        assert tx.add_approval(an_approval(job)) == first
        later = tx.add_approval(an_approval(job, cycle=1))
        other = tx.add_approval(an_approval(job, plan_digest="e" * 64))
        assert len({first.id, later.id, other.id}) == 3
        assert tx.find_approval(job.run_id, job.step, first.plan_digest) == later
    with pytest.raises(NotFoundError), run_store.begin(TENANT) as tx:
        tx.add_approval(an_approval(a_job(run_id="run-0")))


def test_of_two_who_decide_one_is_told(run_store: RunStore, job: Job) -> None:
    approval = an_approval(job)
    granted = approval.changed(status=ApprovalStatus.GRANTED, decided_at=after(1))
    with run_store.begin(TENANT) as tx:
        tx.add_approval(approval)
        tx.save_approval(approval, granted)
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_approval(approval, approval.changed(status=ApprovalStatus.DENIED))
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_approval(approval.id) == granted


def test_approvals_are_listed_oldest_first(run_store: RunStore, job: Job) -> None:
    late = an_approval(job, requested_at=after(9))
    early = an_approval(
        job, plan_digest="e" * 64, requested_at=after(1), status=ApprovalStatus.DENIED
    )
    with run_store.begin(TENANT) as tx:
        tx.add_approval(late)
        tx.add_approval(early)
        assert tx.list_approvals() == (early, late)
        assert tx.list_approvals(status=ApprovalStatus.OPEN) == (late,)
        assert tx.list_approvals(run_id=job.run_id, limit=1) == (early,)
        assert tx.list_approvals(run_id="run-0") == ()
        assert tx.list_approvals(after=early) == (late,)
        assert tx.list_approvals(projects=(early.project_id,)) == (early, late)
        assert tx.list_approvals(projects=("bank",)) == ()


def test_a_person_has_one_vote(run_store: RunStore, job: Job) -> None:
    approval = an_approval(job)
    ada = a_vote(approval, person="ada", at=after(2), comment="gut — “ja”")
    grace = a_vote(approval, person="grace", at=after(1), granted=False)
    with run_store.begin(TENANT) as tx:
        tx.add_approval(approval)
        assert tx.add_vote(ada)
        assert tx.add_vote(grace)
        assert not tx.add_vote(replace(ada, granted=False))
        assert tx.list_votes(approval.id) == (grace, ada)
    with pytest.raises(NotFoundError), run_store.begin(TENANT) as tx:
        tx.add_vote(replace(ada, approval_id="approval-0"))


# --- undoing


def test_the_run_that_undoes_another_is_found_and_is_the_only_one(
    run_store: RunStore, run: Run
) -> None:
    undoing = a_run(undoes=run.id)
    with run_store.begin(TENANT) as tx:
        assert tx.find_undoing_run(run.id) is None
        tx.add_run(undoing)
        assert tx.find_undoing_run(run.id) == undoing
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.add_run(a_run(undoes=run.id))


def test_an_effect_is_settled_and_what_is_undone_stays_so(run_store: RunStore, run: Run) -> None:
    effect = an_effect(run)
    key, kind = effect.effect_key, effect.kind
    left = replace(
        effect,
        status=EffectStatus.ORPHANED,
        reason="somebody pushed",
        settled_at=after(1),
        undone_by="run-9",
    )
    gone = replace(
        left, status=EffectStatus.UNDONE, reason=None, settled_at=after(2), undone_by="run-9"
    )
    with run_store.begin(TENANT) as tx:
        tx.intend_effect(effect)
        tx.settle_effect(
            key, kind, left.status, after(1), reason="somebody pushed", undone_by="run-9"
        )
        assert tx.list_effects(status=EffectStatus.ORPHANED) == (left,)
        tx.settle_effect(key, kind, gone.status, after(2), undone_by="run-9")
        assert tx.list_effects() == (gone,)
        tx.settle_effect(key, kind, EffectStatus.ORPHANED, after(3), reason="too late")
        assert tx.list_effects() == (gone,)
        with pytest.raises(NotFoundError):
            tx.settle_effect(key, "another", EffectStatus.UNDONE, after(3))


# --- policies


def test_a_policy_is_replaced_by_the_next_version_alone(run_store: RunStore) -> None:
    first = a_policy_record()
    second = replace(first, version=2, document="runs_per_day: 6\n# ö\n", updated_by="grace")
    with run_store.begin(TENANT) as tx:
        assert tx.find_policy() is None
        tx.save_policy(first)
        assert tx.find_policy() == first
        tx.save_policy(second)
    for stale in (first, second, replace(first, version=4)):
        with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
            tx.save_policy(stale)
    other = a_policy_record(tenant_id="umbrella")
    with run_store.begin("umbrella") as tx:
        tx.save_policy(other)
    assert sorted(run_store.policies(), key=lambda one: one.tenant_id) == [second, other]


def test_accepted_runs_are_counted_and_those_that_undo_are_not(run_store: RunStore) -> None:
    plan = Body(reference=BodyReference("c" * 64, 99))
    accepted = a_run(plan=plan, requested_at=after(10))
    runs = [
        accepted,
        a_run(plan=plan, requested_at=after(0)),
        a_run(requested_at=after(10)),  # it was refused
        a_run(plan=plan, requested_at=after(10), undoes=accepted.id),
    ]
    with run_store.begin(TENANT) as tx:
        for run in runs:
            tx.add_run(run)
        counts = [tx.count_runs_since(after(seconds)) for seconds in (0, 10, 11)]
    assert counts == [2, 1, 0]
