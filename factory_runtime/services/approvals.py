"""Take people's votes, and have the job that waits for them go on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote, spell_deciders
from factory_runtime.domain.audit import AuditFilter
from factory_runtime.domain.errors import ConflictError, InputError, NotAllowedError
from factory_runtime.domain.run import Run
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.ask_people import deadline_changes, note, plan_digest
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.wake_run import wake_run


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a vote.

    Attributes:
        votes: all there are by now, in the order they came.
        counted: False where this very vote had been given before, and nothing was changed.
    """

    approval: Approval
    votes: tuple[Vote, ...]
    counted: bool


def decide(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    approval_id: str,
    person: str,
    groups: Collection[str],
    granted: bool,
    comment: str = "",
    behind: Collection[str] = (),
) -> Decided:
    """Take one person's vote; where it decides, the job that waits goes on at once.

    One who denies it decides alone; else ``count`` of them do. A run that is paused, or that nobody
    executes now, goes on when it can.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose approval.
        approval_id: which.
        person: the operating system's user, or who a credential says.
        groups: the person's, by name.
        granted: False to deny it.
        comment: why; one who denies it has to say.
        behind: who gave the API key that the person came with, directly or not.

    Raises:
        ApprovalNotFoundError: no such approval.
        NotAllowedError: the person requested the run or changed its plan, or is not among those who
            may decide; or, to grant it, has their key from one who did either or who has granted
            it, or gave it to them.
        ConflictError: the person said otherwise before, it was decided or has expired, or its run
            has ended or is being cancelled.
        InputError: denied without a comment.
    """
    if not granted and not comment.strip():
        raise InputError("who denies an approval says why", hint="add a comment")
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(tx.get_approval(approval_id).run_id)
        approval, votes, now = tx.get_approval(approval_id), tx.list_votes(approval_id), clock.now()
        vote = Vote(tenant_id, approval_id, person, granted, now, comment, tuple(sorted(behind)))
        if _said_before(vote, votes):
            return Decided(approval, votes, counted=False)
        why = _why_not(tx, approval, run, vote, groups, votes)
        _refuse(approval, run, person, why, now)
        tx.add_vote(vote)
        votes = (*votes, vote)
        status = _status_of(approval, votes)
        after = approval.changed(
            status=status, decided_at=None if status is ApprovalStatus.OPEN else now
        )
        tx.save_approval(approval, after)
        if status is not ApprovalStatus.OPEN:
            wake(tx, run, approval.step, now, **deadline_changes(tx, run, now))
        _record(tx, after, vote)
        return Decided(after, votes, counted=True)


def wake(tx: RunTransaction, run: Run, step: str, now: datetime, **changes: Any) -> Run:
    """Have a job that waits go on now; call it with the run's row locked.

    A living walk sees it by the run's version; a run that waits without one wants a slot again.
    ``changes`` are what else becomes of the run.
    """
    tx.wake_job(run.id, step, now)
    return wake_run(tx, run, now, now, **changes)


def withdraw(tx: RunTransaction, run: Run, now: datetime) -> dict[str, Any]:
    """Nobody has to decide any more: the run ends. Call it with the run's row locked.

    What becomes of the run's deadline, for whoever writes the run.
    """
    for approval in _open(tx, run):
        withdrawn = approval.changed(status=ApprovalStatus.WITHDRAWN, decided_at=now)
        tx.save_approval(approval, withdrawn)
    return deadline_changes(tx, run, now)


def stop_asking(tx: RunTransaction, run: Run, now: datetime) -> Run:
    """The run is to be undone, so nobody has to decide any more: jobs that wait for it go on now.

    They find that it was withdrawn, and end. Call it with the run's row locked.
    """
    asked = _open(tx, run)
    if not asked:
        return run
    changes = withdraw(tx, run, now)
    for approval in asked:
        tx.wake_job(run.id, approval.step, now)
    told = run.changed(now, **changes)
    tx.save_run(run, told)
    return told


def _open(tx: RunTransaction, run: Run) -> tuple[Approval, ...]:
    return tx.list_approvals(status=ApprovalStatus.OPEN, run_id=run.id, limit=_MANY)


_MANY = 100_000


def _said_before(vote: Vote, votes: Collection[Vote]) -> bool:
    for said in votes:
        if said.person == vote.person:
            if (said.granted, said.comment) == (vote.granted, vote.comment):
                return True
            raise ConflictError(
                f"{vote.person} has {_verb(said.granted)} {vote.approval_id} already",
                hint="a person has one vote",
            )
    return False


def why_no_grant(
    tx: RunTransaction,
    approval: Approval,
    person: str,
    groups: Collection[str],
    now: datetime,
    behind: Collection[str] = (),
) -> str | None:
    """Why this person may not grant it, as ``<person> <why>``; None where nothing is in the way.

    The arguments are those of ``decide``.
    """
    run, votes = tx.get_run(approval.run_id), tx.list_votes(approval.id)
    vote = Vote(tx.tenant_id, approval.id, person, True, now, behind=tuple(sorted(behind)))
    return _why_not(tx, approval, run, vote, groups, votes)


def _why_not(
    tx: RunTransaction,
    approval: Approval,
    run: Run,
    vote: Vote,
    groups: Collection[str],
    votes: Collection[Vote],
) -> str | None:
    """Why a vote may not be given, as ``<person> <why>``; None where there is nothing.

    Nobody decides who requested the run or changed its plan, or is not among those who may; nobody
    grants who has their key from one who did either, or gave it to them; nor, likewise, from or to
    one of the ``votes`` that have granted it.
    """
    person = vote.person
    if person == approval.requested_by:
        return "requested the run"
    if not approval.may_decide(person, groups, vote.at):
        return "is not among those who may"
    if person in run.plan_changed_by:
        return "changed the run's plan"
    return _why_one_hand(tx, approval, run, vote, votes) if vote.granted else None


def _why_one_hand(
    tx: RunTransaction, approval: Approval, run: Run, vote: Vote, votes: Collection[Vote]
) -> str | None:
    """Why a vote may be another's own, said with a key that they gave; None where it is nobody's.

    Who gives a key can come with it themselves. So the two ends of each chain of givers are one
    person to approvals; two who have their keys from one giver are two.
    """
    for author in sorted({run.requested_by, *run.plan_changed_by}):
        if _are_one(vote.person, vote.behind, author, _givers_of(tx, approval, run, author)):
            return _one_hand(vote, author, "asked for the run or changed its plan")
    for said in votes:
        if said.granted and _are_one(vote.person, vote.behind, said.person, said.behind):
            return _one_hand(vote, said.person, "has granted it already")
    return None


def _givers_of(tx: RunTransaction, approval: Approval, run: Run, author: str) -> frozenset[str]:
    """Who gave the keys that somebody may have asked for the run with, or changed its plan.

    A key that was made later says nothing of that: else whoever gives keys could make one in the
    author's name, and shut out who is behind it.
    """
    # People are asked anew once a plan was changed, so its change was before that.
    until = approval.requested_at if author in run.plan_changed_by else run.requested_at
    since = run.requested_at - _SLACK
    asked = tx.list_audit(AuditFilter(action="run.request", subject=run.id))
    shown = {entry.key_id for entry in asked}  # by whatever clock it was made
    return frozenset(
        giver
        for key in tx.list_api_keys(name=author, limit=_MANY)
        if key.id in shown or (key.created_at <= until and key.was_good_after(since))
        for giver in key.behind
    )


def _are_one(
    person: str, behind: Collection[str], other: str, behind_other: Collection[str]
) -> bool:
    return other in behind or person in behind_other


def _one_hand(vote: Vote, other: str, did: str) -> str:
    how = "has a key from" if other in vote.behind else "gave a key to"
    return f"{how} {other}, who {did}"


_SLACK = timedelta(minutes=5)
"""Processes remember a revoked key for seconds, and clocks of machines differ."""


def _refuse(approval: Approval, run: Run, person: str, why: str | None, now: datetime) -> None:
    if why is not None:
        raise NotAllowedError(
            f"{person} may not decide {approval.id}: {person} {why}",
            hint=f"ask {spell_deciders(approval.deciders(now))}",
        )
    if approval.status is not ApprovalStatus.OPEN:
        raise ConflictError(f"approval {approval.id} is {approval.status} already")
    if run.ended or run.cancel_requested_at is not None:
        state = run.status if run.ended else "being cancelled"
        raise ConflictError(f"approval {approval.id} is of no use: run {run.id} is {state}")
    if approval.plan_digest != plan_digest(run):
        raise ConflictError(
            f"approval {approval.id} is for another plan than run {run.id} has by now",
            hint="`factory approvals list` shows what is asked for this one",
        )
    if approval.expires_at <= now:
        raise ConflictError(
            f"approval {approval.id} expired at {approval.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            hint=f"`factory runs retry {run.id}` asks anew, once the run has failed of it",
        )


def _status_of(approval: Approval, votes: Collection[Vote]) -> ApprovalStatus:
    if not all(vote.granted for vote in votes):
        return ApprovalStatus.DENIED
    return ApprovalStatus.GRANTED if len(votes) >= approval.count else ApprovalStatus.OPEN


def _record(tx: RunTransaction, approval: Approval, vote: Vote) -> None:
    """What a person did, in the audit and in the run's history."""
    note(tx, approval, vote.at, said=_verb(vote.granted), by=vote.person, comment=vote.comment)
    facts = {
        "run_id": approval.run_id,
        "step": approval.step,
        "plan_digest": approval.plan_digest,
        "comment": vote.comment,
        "status": approval.status.value,
        **({"behind": list(vote.behind)} if vote.behind else {}),
    }
    action = "approval.grant" if vote.granted else "approval.deny"
    leave_audit(tx, vote.person, action, approval.id, facts, vote.at)


def _verb(granted: bool) -> str:
    return "granted" if granted else "denied"
