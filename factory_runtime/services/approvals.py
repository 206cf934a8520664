"""Put questions to people, take their votes, and have the job that waits for them go on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.approval import (
    Approval,
    ApprovalStatus,
    Question,
    Vote,
    spell_deciders,
)
from factory_runtime.domain.errors import (
    ConflictError,
    CorruptStoreError,
    InputError,
    NotAllowedError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job
from factory_runtime.domain.notice import Notice, NoticeKind, Severity
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.messages import leave_notice

_STANDS = frozenset({ApprovalStatus.OPEN, ApprovalStatus.GRANTED})
"""What was asked in an earlier cycle of the run and need not be asked again."""


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


# --- asking


def ask(tx: RunTransaction, run: Run, job: Job, question: Question, now: datetime) -> Approval:
    """Put a question to people, once for the run's plan, and see how it stands by now.

    One that was denied, expired or withdrawn in an earlier cycle of the run is put anew.

    Raises:
        LeaseLostError: another worker holds the job by now.
    """
    tx.hold_job(job)
    digest = plan_digest(run)
    stands = tx.find_approval(run.id, job.step, digest)
    if stands is None or (stands.cycle < run.cycle and stands.status not in _STANDS):
        stands = tx.add_approval(_asked(run, job, question, digest, now))
        _tell(tx, run, stands, now)
    return _by_now(tx, run, stands, now)


def plan_digest(run: Run) -> str:
    """SHA-256 of the run's plan: what an approval is bound to.

    Raises:
        CorruptStoreError: it has none.
    """
    if run.plan is None or run.plan.reference is None:
        raise CorruptStoreError(f"run {run.id} has no plan")
    return run.plan.reference.digest


def _asked(run: Run, job: Job, question: Question, digest: str, now: datetime) -> Approval:
    after = question.escalate_after
    return Approval(
        id=new_id("appr"),
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=job.step,
        project_id=run.project_id,
        plan_digest=digest,
        requested_by=run.requested_by,
        message=question.message,
        by=question.by,
        count=question.count,
        requested_at=now,
        expires_at=now + question.expires,
        escalate_at=None if after is None else now + after,
        escalate_to=question.escalate_to,
        cycle=run.cycle,
    )


def _by_now(tx: RunTransaction, run: Run, approval: Approval, now: datetime) -> Approval:
    """An open approval whose time has come is expired, or told to those who may decide as well."""
    if approval.status is not ApprovalStatus.OPEN:
        return approval
    if approval.expires_at <= now:
        expired = approval.changed(status=ApprovalStatus.EXPIRED, decided_at=now)
        tx.save_approval(approval, expired)
        _note(tx, expired, now, said="expired")
        return expired
    if approval.is_escalated(now) and approval.escalated_at is None:
        escalated = approval.changed(escalated_at=now)
        tx.save_approval(approval, escalated)
        _tell(tx, run, escalated, now)
        return escalated
    return approval


def _tell(tx: RunTransaction, run: Run, approval: Approval, now: datetime) -> None:
    """Tell people that they are asked, or that they are now."""
    again = approval.escalated_at is not None
    who = spell_deciders(approval.deciders(now))
    first_line = approval.message.strip().partition("\n")[0][:200]
    command = f"factory approvals grant {approval.id} --tenant {approval.tenant_id}"
    body = [
        approval.message.strip(),
        f"{approval.step} of {run.id} ({run.template_id} {run.template_version}, project"
        f" {run.project_id}), requested by {run.requested_by}, waits for {who}"
        f"{f', {approval.count} of them' if approval.count > 1 else ''},"
        f" until {approval.expires_at:%Y-%m-%d %H:%M} UTC.",
        f"To see what it would do: {command.replace(' grant ', ' show ')}",
        f"To decide: {command}, or {command.replace(' grant ', ' deny ')} --comment REASON",
    ]
    leave_notice(
        tx,
        Notice(
            tenant_id=approval.tenant_id,
            kind=NoticeKind.APPROVAL_WANTED,
            key=f"{NoticeKind.APPROVAL_WANTED}:{approval.id}{':escalated' if again else ''}",
            title=f"Approval {'still ' if again else ''}wanted: {first_line}",
            body="\n".join(body),
            at=now,
            severity=Severity.WARNING if again else Severity.INFO,
            run_id=run.id,
            facts={
                "approval_id": approval.id,
                "step": approval.step,
                "plan_digest": approval.plan_digest,
                "deciders": list(approval.deciders(now)),
                "count": approval.count,
                "expires_at": approval.expires_at.isoformat(),
                "escalated": again,
            },
        ),
    )
    _note(tx, approval, now, said="escalated" if again else "asked", who=who)


# --- deciding


def decide(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    approval_id: str,
    person: str,
    groups: Collection[str],
    granted: bool,
    comment: str = "",
) -> Decided:
    """Take one person's vote; where it decides, the job that waits goes on at once.

    One who denies it decides alone; else ``count`` of them do. A run that is paused, or that nobody
    executes now, goes on when it can.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose approval.
        approval_id: which.
        person: the operating system's user.
        groups: the person's, by name.
        granted: False to deny it.
        comment: why; one who denies it has to say.

    Raises:
        ApprovalNotFoundError: no such approval.
        NotAllowedError: the person requested the run, or is not among those who may decide.
        ConflictError: the person said otherwise before, it was decided or has expired, or its run
            has ended or is being cancelled.
        InputError: denied without a comment.
    """
    if not granted and not comment.strip():
        raise InputError("who denies an approval says why", hint="add a comment")
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(tx.get_approval(approval_id).run_id)
        approval, votes, now = tx.get_approval(approval_id), tx.list_votes(approval_id), clock.now()
        vote = Vote(tenant_id, approval_id, person, granted, now, comment)
        if _said_before(vote, votes):
            return Decided(approval, votes, counted=False)
        _refuse(approval, run, person, groups, now)
        tx.add_vote(vote)
        votes = (*votes, vote)
        status = _status_of(approval, votes)
        after = approval.changed(
            status=status, decided_at=None if status is ApprovalStatus.OPEN else now
        )
        if status is not ApprovalStatus.OPEN:
            wake(tx, run, approval.step, now)
        tx.save_approval(approval, after)
        _record(tx, after, vote)
        return Decided(after, votes, counted=True)


def wake(tx: RunTransaction, run: Run, step: str, now: datetime) -> Run:
    """Have a job that waits go on now; call it with the run's row locked.

    A living walk sees it by the run's version; a run that waits without one wants a slot again.
    """
    tx.wake_job(run.id, step, now)
    waits = run.status is RunStatus.WAITING
    woken = run.changed(now, wake_at=now) if waits else run.changed(now)
    tx.save_run(run, woken)
    return woken


def withdraw(tx: RunTransaction, run: Run, now: datetime) -> None:
    """Nobody has to decide any more: the run has ended. Call it with the run's row locked."""
    for approval in tx.list_approvals(status=ApprovalStatus.OPEN, run_id=run.id, limit=_MANY):
        withdrawn = approval.changed(status=ApprovalStatus.WITHDRAWN, decided_at=now)
        tx.save_approval(approval, withdrawn)


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


def _refuse(
    approval: Approval, run: Run, person: str, groups: Collection[str], now: datetime
) -> None:
    if not approval.may_decide(person, groups, now):
        why = "requested the run" if person == approval.requested_by else "is not among those"
        raise NotAllowedError(
            f"{person} may not decide {approval.id}: {person} {why}",
            hint=f"ask {spell_deciders(approval.deciders(now))}",
        )
    if person in run.plan_changed_by:
        raise NotAllowedError(
            f"{person} may not decide {approval.id}: {person} changed the plan",
            hint=f"ask another of {spell_deciders(approval.deciders(now))}",
        )
    if approval.status is not ApprovalStatus.OPEN:
        raise ConflictError(f"approval {approval.id} is {approval.status} already")
    if run.ended or run.cancel_requested_at is not None:
        state = run.status if run.ended else "being cancelled"
        raise ConflictError(f"approval {approval.id} is of no use: run {run.id} is {state}")
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
    _note(tx, approval, vote.at, said=_verb(vote.granted), by=vote.person, comment=vote.comment)
    facts = {
        "run_id": approval.run_id,
        "step": approval.step,
        "plan_digest": approval.plan_digest,
        "comment": vote.comment,
        "status": approval.status.value,
    }
    action = "approval.grant" if vote.granted else "approval.deny"
    leave_audit(tx, vote.person, action, approval.id, facts, vote.at)


def _note(tx: RunTransaction, approval: Approval, now: datetime, **detail: str) -> None:
    """A line of the run's history."""
    facts = {"approval": approval.id, **{name: text for name, text in detail.items() if text}}
    tx.add_event(
        RunEvent(approval.tenant_id, approval.run_id, now, "approval", approval.step, detail=facts)
    )


def _verb(granted: bool) -> str:
    return "granted" if granted else "denied"
