"""The effect of a job that undoes another: what is given to its type, and what is written of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from factory_runtime.domain.errors import PermanentError, UnknownJobTypeError
from factory_runtime.domain.ids import effect_key
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import JobResult, Undone, WaitUntil
from factory_runtime.ports import JobContext, RunTransaction, Undoing
from factory_runtime.services.attempt import Begun
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.run_host import host_of

_MANY = 10_000


def undo_job(
    engine: Engine, walk: Walk, begun: Begun, context: JobContext
) -> JobResult | WaitUntil:
    """Have the job's type take back what another job has done, as far as that stands.

    Raises:
        UnknownJobTypeError: the type is not installed, or does not offer this undo any more.
        Exception: whatever the job type raises.
    """
    undone_run, undo = walk.run.undoes, begun.planned.undo
    if undone_run is None or begun.planned.undo_of is None or undo is None:
        raise PermanentError(f"job {begun.job.step} of {begun.job.run_id} has nothing to undo")
    job_type = engine.job_types[begun.planned.type]
    if undo not in job_type.facts.undos or not isinstance(job_type, Undoing):
        raise UnknownJobTypeError(f"{job_type.facts.name} offers no undo {undo!r}")
    with engine.store.begin(walk.run.tenant_id, read_only=True) as tx:
        listed = tx.list_effects(run_id=undone_run, step=begun.planned.undo_of, limit=_MANY)
    there, gone = _look(engine, walk, begun, listed)
    if not there:
        return JobResult(undone=gone)
    result = job_type.undo(context, undo, there)
    if isinstance(result, WaitUntil):
        return result
    undone = _word_on_each(result, there)
    left = "; ".join(dict.fromkeys(one.left for one in undone if one.left is not None))
    return replace(result, undone=(*undone, *gone), degraded=result.degraded or left or None)


def settle_undone(
    tx: RunTransaction, walk: Walk, begun: Begun, result: JobResult, now: datetime
) -> None:
    """Write what became of the effects that this job was to undo."""
    if walk.run.undoes is None or begun.planned.undo_of is None:
        return
    key = effect_key(walk.run.undoes, begun.planned.undo_of)
    # In the order of kinds, as everywhere: no two that settle effects of one job block each other.
    for one in sorted(result.undone, key=lambda one: one.kind):
        status = EffectStatus.UNDONE if one.left is None else EffectStatus.ORPHANED
        reason = one.left or one.note
        tx.settle_effect(key, one.kind, status, now, reason=reason, undone_by=walk.run.id)
    _settle_unused(tx, walk, begun, result, now)


def _settle_unused(
    tx: RunTransaction, walk: Walk, begun: Begun, result: JobResult, now: datetime
) -> None:
    """What the undoing job intended and then had no reason to do: nobody has to look for it."""
    done = {effect.kind for effect in result.effects}
    intended = tx.list_effects(
        run_id=walk.run.id, step=begun.job.step, status=EffectStatus.INTENDED, limit=_MANY
    )
    for effect in intended:
        if effect.kind not in done:
            tx.settle_effect(
                effect.effect_key, effect.kind, EffectStatus.UNDONE, now, reason="was not done"
            )


def _look(
    engine: Engine, walk: Walk, begun: Begun, effects: Sequence[Effect]
) -> tuple[tuple[Effect, ...], tuple[Undone, ...]]:
    """Those that stand outside, newest first, each with what came of it; and those that are gone.

    One that is only intended and cannot be found may still be under way: the inventory looks.
    """
    job_type, host = engine.job_types[begun.planned.type], host_of(engine.host, walk.run)
    there: list[Effect] = []
    gone: list[Undone] = []
    for effect in reversed(effects):
        if effect.status is EffectStatus.CONFIRMED:
            there.append(effect)
        elif effect.status is not EffectStatus.UNDONE:
            reference = job_type.probe(host, effect)
            if reference is not None:
                there.append(_confirmed(engine, begun, effect, reference))
            elif effect.status is EffectStatus.ORPHANED:
                gone.append(Undone(effect.kind, note="gone already"))
    return tuple(there), tuple(gone)


def _confirmed(engine: Engine, begun: Begun, effect: Effect, reference: str) -> Effect:
    """An effect that was done by somebody who could not say so any more."""
    if effect.status is EffectStatus.INTENDED:
        with engine.store.begin(effect.tenant_id) as tx:
            tx.hold_job(begun.job)
            tx.confirm_effect(effect.effect_key, effect.kind, reference, engine.clock.now())
    return replace(effect, reference=effect.reference or reference)


def _word_on_each(result: JobResult, effects: Sequence[Effect]) -> tuple[Undone, ...]:
    said = {one.kind: one for one in result.undone}
    return tuple(
        said.get(effect.kind, Undone(effect.kind, left="its undo does not say what became of it"))
        for effect in effects
    )
