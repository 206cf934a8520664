"""Have what a run did outside taken back, by a run of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    InputError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.plan import Plan, jobs_of
from factory_runtime.domain.records import Effect, OutboxMessage
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import ArtifactStorage, Clock, RunStore, RunTransaction
from factory_runtime.services.audit import SYSTEM, leave_audit
from factory_runtime.services.letters import close_letter
from factory_runtime.services.messages import leave_undo, undo_in
from factory_runtime.services.signals import RUN_ACCEPTED, signal_run
from factory_runtime.services.trace_request import tell_request

_MANY = 1_000_000


def request_undo(tx: RunTransaction, run: Run, by: str, now: datetime) -> Run | None:
    """Have an ended run undone, soon; the run that undoes it where there is one already.

    Asking twice is asking once. Call it with the run's row locked.

    Raises:
        ConflictError: it undoes another run itself.
        IllegalTransitionError: it has not ended: cancel it.
        InputError: it was refused when it was requested, and has done nothing.
    """
    refuse_undoing(run)
    if not run.ended:
        raise IllegalTransitionError(f"run {run.id}", run.status, "undone")
    if run.plan is None:
        raise InputError(f"run {run.id} was refused and has nothing to undo")
    standing = tx.find_undoing_run(run.id)
    if standing is None:
        if run.undo_requested_by is None:
            tx.save_run(run, run.changed(now, undo_requested_by=by))
            leave_audit(tx, by, "run.undo", run.id, {"cycle": run.cycle}, now)
        leave_undo(tx, run, by, now)
    return standing


def refuse_undoing(run: Run) -> None:
    """Refuse to undo an undo.

    Raises:
        ConflictError: the run undoes another.
    """
    if run.undoes is not None:
        raise ConflictError(
            f"run {run.id} undoes {run.undoes}, and cannot be undone itself",
            hint="run the template again",
        )


@dataclass(frozen=True)
class Undoer:
    """Makes the runs that undo others."""

    store: RunStore
    storage: ArtifactStorage
    clock: Clock

    def undo(self, tenant_id: str, run_id: str, by: str) -> Run | None:
        """Have an ended run undone; the run that does it, or None where that one is made later.

        It is later where an effect was only intended: a job may still be within its call.

        Raises:
            RunNotFoundError: no such run.
            FactoryError: as ``request_undo``.
        """
        with self.store.begin(tenant_id) as tx:
            run = tx.lock_run(run_id)
            now = self.clock.now()
            standing = request_undo(tx, run, by, now)
            if standing is not None or undo_in(tx, run, now):
                return standing
        return self._begin(tenant_id, run_id, run.cycle, by)

    def begin(self, message: OutboxMessage) -> None:
        """Handles ``UNDO_RUN``."""
        asked = message.payload
        run_id, cycle, by = str(asked["run_id"]), int(asked["cycle"]), str(asked["by"])
        self._begin(message.tenant_id, run_id, cycle, by)

    def _begin(self, tenant_id: str, run_id: str, cycle: int, by: str) -> Run | None:
        """Make the undoing run, once; None where the run was sent round again meanwhile."""
        with self.store.begin(tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
            effects = tx.list_effects(run_id=run_id, limit=_MANY)
        plan = self._compiled(run, effects)
        with self.store.begin(tenant_id) as tx:
            run = tx.lock_run(run_id)
            standing = tx.find_undoing_run(run_id)
            if standing is not None:
                return standing
            if not run.ended or run.cycle != cycle:
                return None
            now = self.clock.now()
            requested = self._undoing_run(run, plan, by, now)
            undoing = requested.move_to(RunStatus.VALIDATED, now)
            jobs, detail = jobs_of(requested, plan), {"undoes": run_id, "by": by}
            tx.add_run(undoing, jobs, requested=requested, detail=detail)
            signal_run(tx, undoing, RUN_ACCEPTED, now, undoes=run_id)
            leave_audit(tx, SYSTEM, "run.undo-begun", run_id, {"undone_by": undoing.id}, now)
            _close_letters(tx, run, undoing, now)
        tell_request(undoing, self.clock.now())
        return undoing

    def _compiled(self, run: Run, effects: Iterable[Effect]) -> Plan:
        # Imported here: whoever only asks for an undo needs no compiler.
        from factory_runtime.compiler.undo_plan import compile_undo
        from factory_runtime.services.plans import read_plan

        return compile_undo(read_plan(self.storage, run), effects)

    def _undoing_run(self, run: Run, plan: Plan, by: str, now: datetime) -> Run:
        from factory_runtime.compiler.plan import plan_to_json

        stored = self.storage.put(run.tenant_id, plan_to_json(plan).encode())
        return Run(
            id=new_id("run"),
            tenant_id=run.tenant_id,
            project_id=run.project_id,
            module_id=run.module_id,
            template_id=run.template_id,
            template_version=run.template_version,
            template_digest=run.template_digest,
            status=RunStatus.REQUESTED,
            inputs=run.inputs,
            plan=Body(reference=BodyReference(stored.digest, stored.size)),
            requested_by=by,
            requested_at=now,
            updated_at=now,
            trace_id=run.trace_id,
            correlation_id=run.correlation_id,
            priority=run.priority,
            undoes=run.id,
            git_host=run.git_host,
        )


def _close_letters(tx: RunTransaction, run: Run, undoing: Run, now: datetime) -> None:
    """What failed in a run that is undone waits for nobody any more."""
    for letter in tx.list_dead_letters(LetterFilter(run_id=run.id), limit=_MANY):
        close_letter(tx, letter, undoing.requested_by, f"undone by {undoing.id}", now)
