"""What is left outside of a run that was undone, and what has become of it since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.records import Effect, EffectStatus, OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.ports import ArtifactStorage, Clock, GitHost, JobType, RunStore
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.run_host import host_of

_MANY = 1_000_000
_OPEN = frozenset({EffectStatus.INTENDED, EffectStatus.CONFIRMED})


@dataclass(frozen=True, slots=True)
class Found:
    """What a probe says of an effect.

    Attributes:
        reference: what there is; None where there is nothing.
        unknown: why nobody can tell, and asking again would not help.
    """

    reference: str | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class Inventory:
    """Settles the ledger of a run that was undone: all of it is undone, or somebody's to look at.

    Attributes:
        job_types: by name; they know how to find what they have done.
    """

    store: RunStore
    storage: ArtifactStorage
    host: GitHost
    job_types: Mapping[str, JobType]
    clock: Clock

    def take(self, message: OutboxMessage) -> None:
        """Handles ``TAKE_INVENTORY``, after the end of a run that undoes another.

        One effect that cannot be asked for now does not keep the others. An undo that was sent
        round again meanwhile takes another inventory when it ends.

        Raises:
            RunNotFoundError: no such run.
            TransientError: what a probe raised, as the last thing.
        """
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        cycle = int(message.payload["cycle"])
        with self.store.begin(tenant_id, read_only=True) as tx:
            undoing = tx.get_run(run_id)
            if undoing.undoes is None or not _still(undoing, cycle):
                return
            run = tx.get_run(undoing.undoes)
            effects = tx.list_effects(run_id=run.id, limit=_MANY)
            types = {job.step: job.type for job in tx.list_jobs(run.id)}
            undos = {job.step: job for job in tx.list_jobs(run_id)}
        why = _Why(self._plan_of(run), undos, effects)
        wrong: TransientError | None = None
        for effect in effects:
            if effect.status in _OPEN:
                try:
                    found = self.find(types.get(effect.step, ""), effect)
                except TransientError as error:
                    wrong = error
                else:
                    self._settle(undoing, cycle, effect, found, why)
        if wrong is not None:
            raise wrong

    def check(self, effect: Effect) -> bool:
        """Look for an orphan again; True where it is gone, which is written down then.

        Raises:
            TransientError: nobody can tell now.
        """
        if effect.status is not EffectStatus.ORPHANED:
            return False
        found = self.find(self._type_of(effect), effect)
        if found.reference is not None or found.unknown is not None:
            return False
        with self.store.begin(effect.tenant_id) as tx:
            tx.lock_run(effect.run_id)
            tx.settle_effect(
                effect.effect_key,
                effect.kind,
                EffectStatus.UNDONE,
                self.clock.now(),
                reason="gone: somebody has removed it",
                undone_by=effect.undone_by,
            )
        return True

    def settle(self, tenant_id: str, run_id: str, step: str, by: str, reason: str) -> int:
        """Take a person's word that what a job left is gone or somebody's; how many effects.

        Raises:
            RunNotFoundError, JobNotFoundError: there is none.
            ConflictError: the job left no orphan.
        """
        with self.store.begin(tenant_id) as tx:
            tx.lock_run(run_id)
            tx.get_job(run_id, step)
            orphans = tx.list_effects(
                run_id=run_id, step=step, status=EffectStatus.ORPHANED, limit=_MANY
            )
            if not orphans:
                raise ConflictError(
                    f"job {step} of {run_id} left no orphan",
                    hint="`factory effects list --orphaned` shows those there are",
                )
            now = self.clock.now()
            for effect in sorted(orphans, key=lambda effect: effect.kind):
                tx.settle_effect(
                    effect.effect_key,
                    effect.kind,
                    EffectStatus.UNDONE,
                    now,
                    reason=f"{reason} ({by})",
                    undone_by=effect.undone_by,
                )
            kinds = [effect.kind for effect in orphans]
            detail = {"step": step, "kinds": kinds, "reason": reason}
            leave_audit(tx, by, "effect.settle", run_id, detail, now)
        return len(orphans)

    def _type_of(self, effect: Effect) -> str:
        with self.store.begin(effect.tenant_id, read_only=True) as tx:
            return tx.get_job(effect.run_id, effect.step).type

    def find(self, type_name: str, effect: Effect) -> Found:
        """Look whether an effect of a job of that type is there.

        Raises:
            TransientError: nobody can tell now.
        """
        job_type = self.job_types.get(type_name)
        if job_type is None:
            return Found(unknown=f"job type {type_name!r} is not installed here: nobody can tell")
        with self.store.begin(effect.tenant_id, read_only=True) as tx:
            host = host_of(self.host, tx.get_run(effect.run_id))
        try:
            return Found(job_type.probe(host, effect))
        except TransientError:
            raise
        except (PermanentError, InputError, NotFoundError) as error:
            return Found(unknown=f"whether it is there cannot be told: {error}")

    def _settle(self, undoing: Run, cycle: int, effect: Effect, found: Found, why: _Why) -> None:
        now = self.clock.now()
        is_gone = found.reference is None and found.unknown is None
        status = EffectStatus.UNDONE if is_gone else EffectStatus.ORPHANED
        reason = why.gone(effect) if is_gone else why.there(effect, found)
        with self.store.begin(effect.tenant_id) as tx:
            if not _still(tx.lock_run(undoing.id), cycle):
                return
            if found.reference is not None and effect.status is EffectStatus.INTENDED:
                tx.confirm_effect(effect.effect_key, effect.kind, found.reference, now)
            tx.settle_effect(
                effect.effect_key, effect.kind, status, now, reason=reason, undone_by=undoing.id
            )

    def _plan_of(self, run: Run) -> Plan | None:
        from factory_runtime.services.plans import read_plan

        try:
            return read_plan(self.storage, run)
        except TransientError:
            raise
        except FactoryError:
            return None  # the plan is lost: the ledger is settled all the same


@dataclass(frozen=True)
class _Why:
    """Words for people on what became of an effect.

    Attributes:
        plan: of the undone run; None where it is lost.
        undos: the jobs of the undoing run, by name.
        effects: the whole ledger of the undone run.
    """

    plan: Plan | None
    undos: Mapping[str, Job]
    effects: tuple[Effect, ...]

    def gone(self, effect: Effect) -> str:
        if effect.status is EffectStatus.INTENDED:
            return "was never done"
        for other in self.effects:
            if other.kind == "repository" and _place(other) == _place(effect) != (None, None):
                return f"gone with {other.target}"
        return "gone"

    def there(self, effect: Effect, found: Found) -> str:
        from factory_runtime.compiler.undo_plan import undo_name

        undo = self.undos.get(undo_name(effect.step))
        if undo is None:
            planned = self.plan.by_name.get(effect.step) if self.plan is not None else None
            no_undo = planned is not None and planned.undo is None
            reason = "its step names no undo" if no_undo else "no undo was planned for it"
        elif undo.status is JobStatus.FAILED:
            reason = f"its undo failed: {undo.error}"
        elif undo.status is JobStatus.SUCCEEDED:
            reason = "it was found after its undo"
        else:
            reason = f"its undo was {undo.status.value}".lower()
        return f"{reason}; {found.unknown}" if found.unknown else reason


def _still(undoing: Run, cycle: int) -> bool:
    return undoing.ended and undoing.cycle == cycle


def _place(effect: Effect) -> tuple[object, object]:
    return effect.facts.get("project_id"), effect.facts.get("repository")
