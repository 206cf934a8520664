"""Put a question to people, once for a run's plan, and see how it stands by now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.approval import (
    Approval,
    ApprovalStatus,
    Question,
    spell_deciders,
    votes_wanted,
    why_too_few,
)
from factory_runtime.domain.errors import (
    ApprovalWithdrawnError,
    CorruptStoreError,
    NobodyMayApproveError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job
from factory_runtime.domain.notice import Notice, NoticeKind, Severity
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction
from factory_runtime.services.messages import leave_notice

ONE_MORE = "It began in Prefect, and nobody knows who requested it: one vote more is wanted."

_STANDS = frozenset({ApprovalStatus.OPEN, ApprovalStatus.GRANTED})
"""What was asked in an earlier cycle of the run and need not be asked again."""


def ask(
    tx: RunTransaction,
    run: Run,
    job: Job,
    question: Question,
    now: datetime,
    *,
    is_over: bool = False,
) -> Approval:
    """Put a question to people, once for the run's plan, and see how it stands by now.

    One that was denied, expired or withdrawn in an earlier cycle of the run is put anew. Where the
    run ``is_over``, as it is to be undone, nothing is asked that was not asked before.

    Raises:
        LeaseLostError: another worker holds the job by now.
        ApprovalWithdrawnError: the run is over.
        NobodyMayApproveError: too few may decide it, sooner or later.
    """
    current = tx.lock_run(run.id)
    tx.hold_job(job)
    digest = plan_digest(run)
    stands = tx.find_approval(run.id, job.step, digest)
    if stands is None or (stands.cycle < run.cycle and stands.status not in _STANDS):
        if is_over:
            raise ApprovalWithdrawnError("nobody is asked any more: the run is to be undone")
        stands = tx.add_approval(_asked(run, job, question, digest, now))
        _tell(tx, run, stands, now)
    by_now = _by_now(tx, run, stands, now)
    if changes := deadline_changes(tx, current, now):
        tx.save_run(current, current.changed(now, **changes))
    return by_now


def deadline_changes(tx: RunTransaction, run: Run, now: datetime) -> dict[str, Any]:
    """What becomes of the run's deadline, as its approvals stand by now; its row is locked.

    The time in which people are asked does not count.
    """
    is_asked = bool(tx.list_approvals(status=ApprovalStatus.OPEN, run_id=run.id, limit=1))
    if is_asked == (run.people_asked_at is not None):
        return {}
    if is_asked:
        return {"people_asked_at": now}
    return {"people_asked_at": None, "deadline_at": run.deadline_after_asking(now)}


def plan_digest(run: Run) -> str:
    """SHA-256 of the run's plan: what an approval is bound to.

    Raises:
        CorruptStoreError: it has none.
    """
    if run.plan is None or run.plan.reference is None:
        raise CorruptStoreError(f"run {run.id} has no plan")
    return run.plan.reference.digest


def _asked(run: Run, job: Job, question: Question, digest: str, now: datetime) -> Approval:
    after, at_once = question.escalate_after, _escalates_at_once(run, question)
    if at_once:
        after = timedelta(0)
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
        count=votes_wanted(question.count, run.requested_by),
        requested_at=now,
        expires_at=now + question.expires,
        escalate_at=None if after is None else now + after,
        escalate_to=question.escalate_to,
        escalated_at=now if at_once else None,
        cycle=run.cycle,
    )


def _escalates_at_once(run: Run, question: Question) -> bool:
    """Whether those who may decide first cannot, and those who may later can.

    Raises:
        NobodyMayApproveError: those cannot either.
    """
    by, count, barred = question.by, question.count, (run.requested_by, run.plan_changed_by)
    if why_too_few(by, count, *barred) is None:
        return False
    why = why_too_few((*by, *question.escalate_to), count, *barred)
    if why is not None:
        hint = "have somebody else request it, or name more people in the template or the policy"
        raise NobodyMayApproveError(why, hint=hint)
    return True


def _by_now(tx: RunTransaction, run: Run, approval: Approval, now: datetime) -> Approval:
    """An open approval whose time has come is expired, or told to those who may decide as well."""
    if approval.status is not ApprovalStatus.OPEN:
        return approval
    if approval.expires_at <= now:
        expired = approval.changed(status=ApprovalStatus.EXPIRED, decided_at=now)
        tx.save_approval(approval, expired)
        note(tx, expired, now, said="expired")
        return expired
    if approval.is_escalated(now) and approval.escalated_at is None:
        escalated = approval.changed(escalated_at=now)
        tx.save_approval(approval, escalated)
        _tell(tx, run, escalated, now, again=True)
        return escalated
    return approval


def _tell(
    tx: RunTransaction, run: Run, approval: Approval, now: datetime, *, again: bool = False
) -> None:
    """Tell people that they are asked; ``again``, as nobody has decided, those who may as well."""
    who = spell_deciders(approval.deciders(now))
    first_line = approval.message.strip().partition("\n")[0][:200]
    command = f"factory approvals grant {approval.id} --tenant {approval.tenant_id}"
    body = [
        approval.message.strip(),
        f"{approval.step} of {run.id} ({run.template_id} {run.template_version}, project"
        f" {run.project_id}), requested by {run.requested_by}, waits for {who}"
        f"{f', {approval.count} of them' if approval.count > 1 else ''},"
        f" until {approval.expires_at:%Y-%m-%d %H:%M} UTC.",
        *([] if approval.requester_is_known else [ONE_MORE]),
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
                "escalated": approval.escalated_at is not None,
            },
        ),
    )
    note(tx, approval, now, said="escalated" if again else "asked", who=who)


def note(tx: RunTransaction, approval: Approval, now: datetime, **detail: str) -> None:
    """A line of the run's history."""
    facts = {"approval": approval.id, **{name: text for name, text in detail.items() if text}}
    tx.add_event(
        RunEvent(approval.tenant_id, approval.run_id, now, "approval", approval.step, detail=facts)
    )
