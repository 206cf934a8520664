"""Admit runs: ours to decide, by priority and age; Prefect is asked only for those admitted."""

from __future__ import annotations

from contextlib import suppress

from factory_runtime.domain.errors import ConflictError, FactoryError, TransientError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, Launcher, RunStore
from factory_runtime.services.end_run import end_run


def dispatch_next(store: RunStore, launcher: Launcher, clock: Clock) -> Run | None:
    """Queue the next run and have its flow run made; None where none waits.

    Killed between the two, or while Prefect is away, the run stays Queued without a flow run. Such
    a run comes first the next time: no other is admitted before Prefect has taken it. One that
    cannot be launched, now or ever, is Failed and stands in nobody's way. Of several dispatchers
    exactly one is given the run.

    Raises:
        PrefectUnavailableError: no flow run could be made; the run stays Queued.
    """
    for tenant_id, run_id in store.running_runs():
        with store.begin(tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
        if run.status is RunStatus.QUEUED and run.flow_run_id is None:
            launched = _launch(store, launcher, clock, run)
            if launched is not None:
                return launched
    for tenant_id, run_id in store.dispatchable_runs():
        try:
            queued = admit(store, clock, tenant_id, run_id)
        except ConflictError:
            continue  # another dispatcher was quicker
        if queued.flow_run_id is not None:
            return queued  # it began in Prefect, and got no further there
        launched = _launch(store, launcher, clock, queued)
        if launched is not None:
            return launched
    return None


def admit(store: RunStore, clock: Clock, tenant_id: str, run_id: str) -> Run:
    """Validated becomes Queued.

    Raises:
        IllegalTransitionError: it is past that.
        StaleVersionError: somebody else moved it.
    """
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        queued = run.move_to(RunStatus.QUEUED, clock.now())
        tx.save_run(run, queued)
    return queued


def _launch(store: RunStore, launcher: Launcher, clock: Clock, run: Run) -> Run | None:
    """Have the flow run of a Queued run made, and write its id down.

    None where somebody else wrote one down meanwhile, or ended the run, or where it has to fail.
    """
    try:
        flow_run_id = launcher.launch(run)
    except TransientError:
        raise
    except FactoryError as error:  # Prefect refuses it, or its inputs are gone
        with suppress(ConflictError):  # somebody else ended it
            end_run(store, clock, run.tenant_id, run.id, RunStatus.FAILED, error.explain())
        return None
    with store.begin(run.tenant_id) as tx:
        current = tx.lock_run(run.id)
        if current.flow_run_id is not None or current.ended:
            return None
        launched = current.changed(clock.now(), flow_run_id=flow_run_id)
        tx.save_run(current, launched)
    return launched
