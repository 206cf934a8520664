"""Send a failed run round again: all that failed in it, or one job and what is behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    InputError,
    StaleVersionError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.run import PLAN_CHANGED_BY, Run, RunStatus
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.again import all_to_do, fresh, job_and_behind
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.letters import close_unplanned, mark_redriven
from factory_runtime.services.messages import leave_status
from factory_runtime.services.next_deadline import next_deadline
from factory_runtime.services.signals import RUN_RETRIED, signal_run

if TYPE_CHECKING:
    from factory_runtime.services.amended import Amended
    from factory_runtime.services.policy_check import Ruling
    from factory_runtime.services.request_desk import RequestDesk

NOTHING = Change()
_MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Round:
    """One more cycle of a failed run, worked out and not written yet.

    Attributes:
        run: as it was read.
        jobs: all of its jobs, as they were read.
        again: the jobs among them that are Pending again; in plan order.
        change: what was asked to be otherwise.
        amended: what comes of that, or of approvals that policies want only now; None where the
            plan stays.
        longest: the most time that it may take; None is as much as it had.
    """

    run: Run
    jobs: tuple[Job, ...]
    again: tuple[Job, ...]
    change: Change = NOTHING
    amended: Amended | None = None
    longest: timedelta | None = None

    @property
    def again_steps(self) -> frozenset[str]:
        """Names of the jobs of the plan, as it is from now on, that are Pending again."""
        if self.amended is not None:
            return self.amended.again
        return frozenset(job.step for job in self.again)


def retry_run(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    run_id: str,
    by: str,
    *,
    change: Change = NOTHING,
    desk: RequestDesk | None = None,
) -> Run:
    """Queue a Failed run again, a cycle further: what failed in it, and what that kept from running.

    Jobs that succeeded stay as they are, and so do those that failed and the run went on without:
    ``continue``, or a fallback stood in. The others get their whole budget of attempts; numbers of
    attempts, fencing tokens, checkpoints and effect keys go on. The deadline is as far away as it
    was when the run was requested, or as its template and its policies allow by now.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose run.
        run_id: which.
        by: who asks.
        change: what is to be otherwise; it needs a desk.
        desk: what reads plans and templates. Without one nobody knows which failures the run went
            on without, and all that failed goes again.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it is not Failed; of two retries at once, one gets this.
        InputError: it was refused when it was requested, so there is nothing to do again; or as
            ``amend``, of the change.
        ConflictError: its effects are being undone; or as ``amend``, of the change.
    """
    round_ = plan_round(store, tenant_id, run_id, change=change, desk=desk)
    return _send(store, clock, round_, by, "run.retry", {"by": by})


def retry_job(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    run_id: str,
    step: str,
    by: str,
    *,
    change: Change = NOTHING,
    desk: RequestDesk | None = None,
) -> Run:
    """As ``retry_run``, for one job and those behind it, directly or not, that did not succeed.

    What failed elsewhere in the run stays so, and decides with it how the run ends. A job that the
    run went on without can be asked for by its name.

    Raises:
        RunNotFoundError: no such run.
        JobNotFoundError: no such job in it.
        IllegalTransitionError: the run is not Failed, or the job neither failed nor was kept from
            running by one that did.
        ConflictError: what kept the job from running has to be retried first; or as ``retry_run``.
        InputError: as ``retry_run``.
    """
    round_ = plan_round(store, tenant_id, run_id, step=step, change=change, desk=desk)
    return _send(store, clock, round_, by, "job.retry", {"by": by, "step": step})


def plan_round(
    store: RunStore,
    tenant_id: str,
    run_id: str,
    *,
    step: str | None = None,
    beside: Collection[str] = (),
    change: Change = NOTHING,
    desk: RequestDesk | None = None,
) -> Round:
    """Work out what a retry of the run, or of one of its jobs, would do. Nothing of it is recorded.

    Jobs ``beside`` that one go again too, with what is behind them, where they failed.

    Raises:
        RunNotFoundError, JobNotFoundError, IllegalTransitionError, ConflictError, InputError: as
            ``retry_run`` and ``retry_job``.
    """
    with store.begin(tenant_id, read_only=True) as tx:
        run = _check(tx, tx.get_run(run_id))
        job = None if step is None else tx.get_job(run_id, step)
        jobs = tx.list_jobs(run_id)
        effects = tx.list_effects(run_id=run_id, limit=_MANY) if change.compiles_anew else ()
    again = all_to_do(run, jobs, desk) if job is None else job_and_behind(job, jobs, beside)
    if desk is None:
        if not change.is_empty:
            raise TypeError("a changed plan needs a desk")
        return Round(run, jobs, again)
    ruling = None if change.compiles_anew else _rule(desk, run)
    longest, approvals = (ruling.max_deadline, ruling.approvals) if ruling else (None, ())
    if change.is_empty and not approvals:
        return Round(run, jobs, again, longest=longest)
    from factory_runtime.services.amend import amend  # it needs the compiler

    left = _left(desk, effects, jobs)
    amended = amend(desk, run, jobs, again, change, left, approvals)
    if change.compiles_anew:
        longest = amended.plan.deadline
    elif change.is_empty and not amended.plan_changed:
        amended = None
    return Round(run, jobs, again, change, amended, longest)


def send_round(tx: RunTransaction, round_: Round, now: datetime, asked: Mapping[str, Any]) -> Run:
    """Write a round that was worked out: the run is Queued, and its jobs are Pending again.

    Args:
        tx: of the run's tenant; the run's row is locked in it, before any other row of the run.
        round_: as ``plan_round`` gave it.
        now: the time.
        asked: who asked for it and how, for the events: at least ``by``; ``order`` is the id of a
            redrive order.

    Raises:
        IllegalTransitionError, ConflictError: as ``retry_run``; somebody else was faster.
        StaleVersionError: the run changed since the round was worked out.
    """
    run = _check(tx, tx.lock_run(round_.run.id))
    if run.version != round_.run.version:
        raise StaleVersionError(f"run {run.id} changed meanwhile", hint="try it again")
    detail = {**asked, "cycle": run.cycle + 1}
    amended, changes = round_.amended, dict[str, Any]()
    if amended is None:
        for job in round_.again:
            tx.save_job(job, fresh(job, now), detail=detail)
    else:
        changes.update(amended.run_changes)
        if amended.plan_changed:
            people = sorted({*run.plan_changed_by, str(asked["by"])})
            changes["metadata"] = {**run.metadata, PLAN_CHANGED_BY: people}
        detail.update(amended.detail)
        amended.write(tx, run, now, detail)
    queued = run.move_to(
        RunStatus.QUEUED,
        now,
        cycle=run.cycle + 1,
        deadline_at=next_deadline(tx, run, round_.longest, now),
        admitted_at=None,
        wake_at=None,
        completed_at=None,
        cancel_requested_at=None,
        pause_requested_at=None,
        outputs=None,
        error=None,
        **changes,
    )
    tx.save_run(run, queued, detail=detail)
    changed = amended.detail if amended is not None else dict[str, Any]()
    steps, order_id = round_.again_steps, asked.get("order")
    mark_redriven(tx, queued, steps, asked["by"], now, order_id, changed)
    if amended is not None:
        close_unplanned(tx, queued, amended.plan.by_name, now)
    leave_status(tx, queued, now)
    signal_run(tx, queued, RUN_RETRIED, now, jobs=len(steps))
    return queued


def _send(
    store: RunStore, clock: Clock, round_: Round, by: str, action: str, asked: Mapping[str, Any]
) -> Run:
    with store.begin(round_.run.tenant_id) as tx:
        now = clock.now()
        queued = send_round(tx, round_, now, asked)
        detail = {key: value for key, value in asked.items() if key != "by"}
        detail |= {"cycle": queued.cycle}
        if round_.amended is not None:
            detail |= round_.amended.detail
        leave_audit(tx, by, action, queued.id, detail, now)
        return queued


def _left(desk: RequestDesk, effects: Iterable[Effect], jobs: Iterable[Job]) -> dict[str, str]:
    """What jobs have done outside that stands, by their names.

    What a job that did not succeed has only intended is looked for: it may have been done.
    """
    types = {job.step: job.type for job in jobs if job.status is not JobStatus.SUCCEEDED}
    left: dict[str, list[str]] = {}
    for effect in effects:
        stands = effect.status is EffectStatus.CONFIRMED
        if effect.status is EffectStatus.INTENDED and effect.step in types and desk.find_effect:
            stands = desk.find_effect(types[effect.step], effect).reference is not None
        if stands:
            left.setdefault(effect.step, []).append(effect.target)
    return {step: " and ".join(targets) for step, targets in left.items()}


def _check(tx: RunTransaction, run: Run) -> Run:
    """The run, if it may go round again."""
    if run.status is not RunStatus.FAILED:
        raise IllegalTransitionError(f"run {run.id}", run.status, RunStatus.QUEUED)
    if run.plan is None:
        raise InputError(
            f"run {run.id} was refused and has nothing to retry",
            hint="mend what its error names and request it anew",
        )
    undoing = tx.find_undoing_run(run.id)
    if undoing is not None or run.undo_requested_by is not None:
        by = f"by {undoing.id}" if undoing else f"for {run.undo_requested_by}"
        raise ConflictError(
            f"what run {run.id} made is being undone {by}", hint="request the run anew"
        )
    return run


def _rule(desk: RequestDesk, run: Run) -> Ruling | None:
    """Refuse what the tenant may not ask for any more, as a withdrawn version; as it was before."""
    if desk.policies is None or run.undoes is not None:
        return None  # whatever is withdrawn may be taken back
    from factory_runtime.services.bodies import from_body
    from factory_runtime.services.policy_check import PolicyFacts  # it needs the compiler

    inputs = from_body(desk.storage, run.tenant_id, run.inputs)
    facts = PolicyFacts(run.template_id, run.template_version, inputs)
    return desk.policies.rule(run.tenant_id, facts, counts=False)
