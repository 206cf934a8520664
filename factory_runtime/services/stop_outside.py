"""After a cancel: end what jobs of the run have begun outside, and what goes on there by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from factory_runtime.domain.errors import InputError, NotFoundError, PermanentError, TransientError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import Effect, EffectStatus, OutboxMessage
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, GitHost, JobType, RunStore, Stopping
from factory_runtime.services.run_host import host_of

_MANY = 100_000
_STOP = "stop-"
_OPEN = frozenset({EffectStatus.INTENDED, EffectStatus.CONFIRMED})


@dataclass(frozen=True)
class OutsideStopper:
    """Handles ``STOP_OUTSIDE``: a run was cancelled, by somebody or by its deadline.

    Attributes:
        job_types: by name. Those that are ``Stopping`` say what of an effect is still under way.
    """

    store: RunStore
    host: GitHost
    job_types: Mapping[str, JobType]
    clock: Clock

    def stop(self, message: OutboxMessage) -> None:
        """End what is under way; each end stands in the ledger before it is asked for.

        One effect that cannot be asked for now does not keep the others; one whose end is refused
        is an orphan, for people to look at. What has ended meanwhile stays as it is.

        Raises:
            RunNotFoundError: no such run.
            TransientError: what the host raised, as the last thing.
        """
        wrong: TransientError | None = None
        run, open_effects = self._open_effects(message)
        there = replace(self, host=host_of(self.host, run))
        for effect, job_type, begun in open_effects:
            try:
                there._end(effect, job_type, begun)
            except TransientError as error:
                wrong = error
        if wrong is not None:
            raise wrong

    def _open_effects(
        self, message: OutboxMessage
    ) -> tuple[Run, list[tuple[Effect, Stopping, bool]]]:
        """Of jobs that the cancel ended, with whether an earlier try intended their end."""
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        with self.store.begin(tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
            if run.status is not RunStatus.CANCELLED:
                return run, []
            jobs = tx.list_jobs(run_id)
            effects = tx.list_effects(run_id=run_id, limit=_MANY)
        types = {one.step: one.type for one in jobs if one.status is JobStatus.CANCELLED}
        ends = {(one.step, one.kind) for one in effects if one.status is EffectStatus.INTENDED}
        found = [
            (one, self.job_types.get(types.get(one.step, "")), (one.step, _STOP + one.kind) in ends)
            for one in effects
            if one.status in _OPEN and not one.kind.startswith(_STOP)
        ]
        known = [(one, kind, begun) for one, kind, begun in found if isinstance(kind, Stopping)]
        return run, known

    def _end(self, effect: Effect, job_type: Stopping, begun: bool) -> None:
        try:
            made = self._made(effect, job_type)
        except (PermanentError, InputError, NotFoundError):
            return  # whether it was done at all: it stays intended
        if made is None:
            return
        try:
            under_way = job_type.under_way(self.host, made)
        except (PermanentError, InputError, NotFoundError) as error:
            self._leave_to_people(str(error), made)
            return
        if under_way is None and not begun:
            return
        end = _end_of(made, under_way or {}, self.clock)
        if under_way is not None:
            with self.store.begin(effect.tenant_id) as tx:
                tx.lock_run(effect.run_id)
                tx.intend_effect(end)
            try:
                job_type.stop(self.host, made)
            except (PermanentError, InputError, NotFoundError) as error:
                self._leave_to_people(str(error), made, end)
                return
        self._confirm(end, made.reference or "")

    def _made(self, effect: Effect, job_type: Stopping) -> Effect | None:
        """The effect with what came of it; None where it was only intended, and never done."""
        if effect.status is EffectStatus.CONFIRMED:
            return effect
        reference = job_type.probe(self.host, effect)
        if reference is None:
            return None
        self._confirm(effect, reference)
        return replace(effect, reference=reference)

    def _confirm(self, effect: Effect, reference: str) -> None:
        with self.store.begin(effect.tenant_id) as tx:
            tx.lock_run(effect.run_id)
            tx.confirm_effect(effect.effect_key, effect.kind, reference, self.clock.now())

    def _leave_to_people(self, why: str, made: Effect, end: Effect | None = None) -> None:
        now, reason = self.clock.now(), f"its end was refused: {why}"
        fates = [(made, EffectStatus.ORPHANED)]
        if end is not None:
            fates.append((end, EffectStatus.UNDONE))
        with self.store.begin(made.tenant_id) as tx:
            tx.lock_run(made.run_id)
            for one, status in fates:
                tx.settle_effect(one.effect_key, one.kind, status, now, reason=reason)


def _end_of(made: Effect, facts: Mapping[str, Any], clock: Clock) -> Effect:
    return Effect(
        effect_key=made.effect_key,
        kind=f"{_STOP}{made.kind}",
        tenant_id=made.tenant_id,
        run_id=made.run_id,
        step=made.step,
        target=f"end of {made.target}",
        intended_at=clock.now(),
        facts=facts,
    )
