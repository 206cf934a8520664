"""What happens to dead letters in the transactions of runs: buried, sent round, settled."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from factory_runtime.domain.body import Body
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    LetterFilter,
    LetterStatus,
    OrderStatus,
)
from factory_runtime.domain.fingerprint import fingerprint
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job
from factory_runtime.domain.notice import Notice, NoticeKind, Severity
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.commands import for_tenant
from factory_runtime.services.messages import leave_notice
from factory_runtime.services.outbox import leave
from factory_runtime.services.signals import JOB_FAILED, LETTER_OPENED, Signal, signal_job
from factory_runtime.services.topics import GO_ON_REDRIVING

WORKER_LOST = "worker-lost"
"""Error code of a job that lost its worker too often."""

RUN_STOPPED = "run-stopped"
"""Error code of a job that was under way when its run was made to fail."""

REDRIVE = "dead-letter.redrive"
"""What the audit calls sending a letter round again."""

ALL = 10_000
"""More letters than a run has jobs."""

_LOOKED_AT = 8_000
"""Characters of a message that may tell of what kind it is."""

_DECIDED = frozenset({"approval-denied", "approval-withdrawn"})
"""Error codes that are a person's decision, or need none: there is nothing for others to look at."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed for good.

    Attributes:
        code: class of the error, like ``host-rejected``.
        message: what it said.
        with_: what its type was told; None where that is not known.
    """

    code: str
    message: str
    traceback: Body | None = None
    with_: Body | None = None


def bury(tx: RunTransaction, run: Run, job: Job, failure: Failure, now: datetime) -> None:
    """Keep a job that failed for good for people. The run's row is held, or nobody else's job is.

    A job has one letter: the one that it had opens again. A kind of failure that the tenant has not
    seen raises an alert; one that it knows, at most one in an hour.
    """
    facts = {"job_type": job.type, "error_code": failure.code, "attempts": job.attempt}
    failed = Signal(JOB_FAILED, job.step, facts={**facts, "cycle": run.cycle})
    if failure.code in _DECIDED:
        signal_job(tx, job, now, failed)
        return
    names = (run.id, job.step, run.project_id, run.tenant_id, run.module_id or "")
    print_, _ = fingerprint(failure.code, failure.message, job.type, names=names)
    # The words of a kind are told outside: the letter alone has the message as it came.
    harmless = redact_text(failure.message[:_LOOKED_AT])
    _, words = fingerprint(failure.code, harmless, job.type, names=names)
    known = tx.find_dead_letter(run.id, job.step)
    checkpoint = tx.find_checkpoint(run.id, job.step)
    letter = DeadLetter(
        id=new_id("letter"),
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=job.step,
        project_id=run.project_id,
        template_id=run.template_id,
        template_version=run.template_version,
        job_type=job.type,
        fingerprint=print_,
        error_code=failure.code,
        error=failure.message,
        attempts=job.attempt,
        trace_id=run.trace_id,
        first_failed_at=now,
        failed_at=now,
        cycle=run.cycle,
        with_=failure.with_,
        traceback=failure.traceback,
        checkpoint=None if checkpoint is None else checkpoint.number,
    )
    if known is None:
        tx.add_dead_letter(letter)
    else:
        letter = replace(
            letter,
            id=known.id,
            version=known.version + 1,
            first_failed_at=known.first_failed_at,
            redrives=known.redrives,
            order_id=known.order_id,
        )
        tx.save_dead_letter(known, letter)
        _tell_order(tx, letter, now)
    kind = FailureKind(run.tenant_id, print_, job.type, failure.code, words, now)
    _alert(tx, run, letter, kind, is_new=tx.add_failure_kind(kind))
    facts |= {"fingerprint": print_, "redrives": letter.redrives}
    signal_job(tx, job, now, failed, Signal(LETTER_OPENED, job.step, letter.id, facts))


def resolve(tx: RunTransaction, run: Run, job: Job, now: datetime) -> None:
    """A job succeeded: close the letter that it had, where it was sent round again."""
    if run.cycle == 0:
        return  # nothing of it was ever sent round
    letter = tx.find_dead_letter(run.id, job.step)
    if letter is not None and letter.status is LetterStatus.REDRIVEN:
        _move(tx, letter, LetterStatus.RESOLVED, now)


def settle_letters(tx: RunTransaction, run: Run, now: datetime) -> None:
    """A run has ended: what is left of its letters follows from how.

    One that Succeeded went on without the jobs of its open letters. One that Failed gives back what
    it was sent round for and did not reach. One that was Cancelled is not wanted any more.
    """
    open_or_under_way = (LetterStatus.OPEN, LetterStatus.REDRIVEN)
    where = LetterFilter(run_id=run.id, statuses=open_or_under_way)
    for letter in _in_order(tx.list_dead_letters(where, limit=ALL)):
        redriven = letter.status is LetterStatus.REDRIVEN
        match run.status:
            case RunStatus.SUCCEEDED if redriven:
                # The plan that it ended with has no such job, or did without it.
                _move(tx, letter, LetterStatus.RESOLVED, now, "the run succeeded without its job")
            case RunStatus.SUCCEEDED:
                _move(tx, letter, LetterStatus.CARRIED, now, "the run went on without its job")
            case RunStatus.CANCELLED:
                _move(tx, letter, LetterStatus.DISCARDED, now, run.error or "its run was cancelled")
            case RunStatus.FAILED if redriven:
                again = letter.move_to(LetterStatus.OPEN, cycle=run.cycle)
                tx.save_dead_letter(letter, again)
                _tell_order(tx, again, now)
            case _:
                pass  # of a Failed run, an open letter waits for a person


def mark_redriven(
    tx: RunTransaction,
    run: Run,
    steps: Collection[str],
    by: str,
    now: datetime,
    order_id: str | None = None,
    change: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[DeadLetter, ...]:
    """Letters of jobs that go round again, as they then stand. The run's row is held.

    ``change`` is what is told of what is otherwise in this round: names, and no values.
    """
    of_run = LetterFilter(run_id=run.id, statuses=(LetterStatus.OPEN, LetterStatus.DISCARDED))
    redriven = list[DeadLetter]()
    for letter in _in_order(tx.list_dead_letters(of_run, limit=ALL)):
        if letter.step in steps:
            after = letter.move_to(
                LetterStatus.REDRIVEN,
                redrives=letter.redrives + 1,
                order_id=order_id,
                closed_at=None,
                closed_by=None,
                reason=None,
            )
            tx.save_dead_letter(letter, after)
            detail = {"run_id": run.id, "step": letter.step, "cycle": run.cycle, "order": order_id}
            leave_audit(tx, by, REDRIVE, letter.id, {**detail, **change}, now)
            redriven.append(after)
    return tuple(redriven)


def _in_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """So that no two transactions wait for each other's counts of kinds."""
    return sorted(letters, key=lambda letter: letter.fingerprint)


def close_unplanned(tx: RunTransaction, run: Run, planned: Container[str], now: datetime) -> None:
    """Close the open letters of jobs that a changed plan has no more. The run's row is held."""
    open_ = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=ALL)
    for letter in _in_order(open_):
        if letter.step not in planned:
            reason = f"the plan of cycle {run.cycle} has no such job"
            _move(tx, letter, LetterStatus.CARRIED, now, reason)


def close_letter(
    tx: RunTransaction, letter: DeadLetter, by: str, reason: str, now: datetime
) -> DeadLetter:
    """Discard a letter.

    Raises:
        IllegalTransitionError: it is closed already.
        StaleVersionError: somebody else changed it since it was read.
    """
    return _move(tx, letter, LetterStatus.DISCARDED, now, reason, by)


def _move(
    tx: RunTransaction,
    letter: DeadLetter,
    status: LetterStatus,
    now: datetime,
    reason: str | None = None,
    by: str = "system",
) -> DeadLetter:
    closed = letter.move_to(status, closed_at=now, closed_by=by, reason=reason)
    tx.save_dead_letter(letter, closed)
    _tell_order(tx, closed, now)
    return closed


def _tell_order(tx: RunTransaction, letter: DeadLetter, now: datetime) -> None:
    """Have the order go on that sent this letter ahead of the others."""
    if letter.order_id is None:
        return
    order = tx.find_redrive_order(letter.order_id)
    if order is None or order.canary_id != letter.id or order.status is not OrderStatus.CANARY:
        return
    key = f"{order.id}:{letter.version}"
    leave(tx, GO_ON_REDRIVING, key, {"order_id": order.id}, now)


def _alert(
    tx: RunTransaction, run: Run, letter: DeadLetter, kind: FailureKind, *, is_new: bool
) -> None:
    hour = letter.failed_at.replace(minute=0, second=0, microsecond=0)
    same = LetterFilter(fingerprint=kind.fingerprint)
    count = 1
    if not is_new:
        this_hour = tx.list_dead_letters(replace(same, since=hour), limit=2)
        if len(this_hour) > 1:
            return  # whoever buried the first of them told it
        count = tx.count_dead_letters(same)
    short = kind.fingerprint[:12]
    what = f"{kind.job_type}: {kind.error_code}"
    letters = "1 dead letter waits" if count == 1 else f"{count} dead letters wait"
    show, again = (
        for_tenant(f"factory dead-letters {command}", run.tenant_id)
        for command in (f"list --fingerprint {short}", f"retry --fingerprint {short} --canary")
    )
    lines = (
        kind.message,
        f"job {letter.step} of run {run.id} failed for good after {letter.attempts} attempt(s)",
        f"{letters} for a person: `{show}` shows them, `{again}` sends them round again",
    )
    leave_notice(
        tx,
        Notice(
            tenant_id=run.tenant_id,
            kind=NoticeKind.DEAD_LETTER,
            key=f"dead-letter:{kind.fingerprint}" + ("" if is_new else f":{hour:%Y-%m-%dT%H}"),
            title=f"new kind of failure: {what}" if is_new else f"fails again: {what}",
            body="\n".join(lines),
            at=letter.failed_at,
            severity=Severity.FAILURE,
            run_id=run.id,
            facts={
                "fingerprint": kind.fingerprint,
                "letter_id": letter.id,
                "step": letter.step,
                "job_type": kind.job_type,
                "error_code": kind.error_code,
                "letters": count,
                "new": is_new,
            },
        ),
    )
