"""After a run's end: find out which effects that were only intended have been done after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from factory_runtime.domain.errors import InputError, NotFoundError, PermanentError
from factory_runtime.domain.records import Effect, EffectStatus, OutboxMessage
from factory_runtime.ports import Clock, GitHost, JobType, RunStore
from factory_runtime.services.run_host import host_of

_MANY = 100_000


@dataclass(frozen=True)
class EffectSettler:
    """Handles ``SETTLE_EFFECTS``: a process may have been killed between an effect and its record.

    Attributes:
        job_types: by name. Effects of a type that is not installed here stay intended.
    """

    store: RunStore
    host: GitHost
    job_types: Mapping[str, JobType]
    clock: Clock

    def settle(self, message: OutboxMessage) -> None:
        """Confirm what has been done of an ended run; what has not stays intended.

        A run that was retried meanwhile is left alone: its jobs look for themselves. One effect
        that cannot be asked for now does not keep the others.

        Raises:
            RunNotFoundError: no such run.
            Exception: what a probe raised, as the last thing: the rest is settled by then.
        """
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        wrong: Exception | None = None
        host, effects = self._open_effects(tenant_id, run_id)
        for effect, job_type in effects:
            try:
                reference = job_type.probe(host, effect)
            except (PermanentError, InputError, NotFoundError):
                continue  # nobody can tell, and asking again would not help
            except Exception as error:
                wrong = error
            else:
                if reference is not None:
                    self._confirm(effect, reference)
        if wrong is not None:
            raise wrong

    def _open_effects(
        self, tenant_id: str, run_id: str
    ) -> tuple[GitHost, list[tuple[Effect, JobType]]]:
        with self.store.begin(tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
            if not run.ended:
                return self.host, []
            types = {job.step: job.type for job in tx.list_jobs(run_id)}
            effects = tx.list_effects(run_id=run_id, status=EffectStatus.INTENDED, limit=_MANY)
        known = ((effect, self.job_types.get(types.get(effect.step, ""))) for effect in effects)
        there = [(effect, job_type) for effect, job_type in known if job_type is not None]
        return host_of(self.host, run), there

    def _confirm(self, effect: Effect, reference: str) -> None:
        with self.store.begin(effect.tenant_id) as tx:
            if tx.lock_run(effect.run_id).ended:
                tx.confirm_effect(effect.effect_key, effect.kind, reference, self.clock.now())
