"""Write an outside effect down before it is done, and find one that may have been done already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_runtime.domain.errors import EffectElsewhereError
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.run_host import host_of
from factory_runtime.services.steadily import steadily

if TYPE_CHECKING:
    from factory_runtime.services.attempt import Begun


def intend(engine: Engine, walk: Walk, begun: Begun, effect: Effect) -> str | None:
    """Put the effect into the ledger; the reference of what is done already, None to do it now.

    A job has one effect of a kind. Where an earlier attempt intended it at another place, as the
    run had other inputs then, nothing is done here while something is found there.

    Raises:
        EffectElsewhereError: the job has done it at another place.
        LeaseLostError: another worker holds the job by now.
        Exception: what a probe raises; nobody can tell then whether it is done.
    """
    stands = _write_down(engine, begun, effect)
    if not stands.is_at_place_of(effect):
        return _intend_elsewhere(engine, walk, begun, stands, effect)
    if stands.status is EffectStatus.CONFIRMED:
        return stands.reference
    if stands.intended_at == effect.intended_at:
        return None
    return _look_for(engine, walk, begun, stands)


def _write_down(engine: Engine, begun: Begun, effect: Effect) -> Effect:
    def write(again: bool) -> Effect:
        del again  # an effect that stands is given as it stands
        with engine.store.begin(effect.tenant_id) as tx:
            tx.hold_job(begun.job)
            return tx.intend_effect(effect)

    return steadily(write, engine.lease)


def _look_for(engine: Engine, walk: Walk, begun: Begun, effect: Effect) -> str | None:
    """What an earlier attempt did before it could say so."""
    reference = _probe(engine, walk, begun, effect)
    if reference is None:
        return None
    with engine.store.begin(effect.tenant_id) as tx:
        tx.hold_job(begun.job)
        tx.confirm_effect(effect.effect_key, effect.kind, reference, engine.clock.now())
    _log(engine, begun, f"found what an earlier attempt did: {effect.target} is {reference[:40]}")
    return reference


def _intend_elsewhere(
    engine: Engine, walk: Walk, begun: Begun, stands: Effect, effect: Effect
) -> None:
    if (
        stands.status is not EffectStatus.INTENDED
        or _probe(engine, walk, begun, stands) is not None
    ):
        raise EffectElsewhereError(begun.job.step, stands.target, effect.target)

    def write(again: bool) -> None:
        del again  # the same once more
        with engine.store.begin(effect.tenant_id) as tx:
            tx.hold_job(begun.job)
            tx.intend_elsewhere(stands, effect)

    steadily(write, engine.lease)
    _log(engine, begun, f"found no {stands.target}: {effect.target} is to be made in its place")


def _probe(engine: Engine, walk: Walk, begun: Begun, effect: Effect) -> str | None:
    host = host_of(engine.host, walk.run)
    return engine.job_types[begun.planned.type].probe(host, effect)


def _log(engine: Engine, begun: Begun, message: str) -> None:
    begun.add_log(engine.clock.now(), message)
