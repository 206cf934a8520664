"""Give runs a slot: ours to decide, by priority and age; Prefect is asked only for those admitted."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    StoreUnavailableError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, DispatchTransaction, Launcher, RunKey, RunStore
from factory_runtime.services.end_run import end_run
from factory_runtime.services.locks import dispatcher_of, find_walker, take_lock, walk_lock
from factory_runtime.services.messages import leave_status
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import without_slot

START_WITHIN = timedelta(seconds=60)
"""How long a run keeps its slot before some process walks it."""

CANCELLED_IN_PREFECT = "cancelled by somebody in Prefect"

_MANY = 10_000


def dispatch_next(
    store: RunStore, launcher: Launcher, clock: Clock, cap: int, worker: str
) -> Run | None:
    """Admit the next run and have its flow run ready to be executed; None where none can start.

    It is the first, by priority and age, of those that want a slot: new ones, those resumed or
    retried, those whose wait is over, and those that a killed process left. Killed between the
    admission and Prefect's answer, the sweep takes the slot back.

    Args:
        store: the record.
        launcher: asks Prefect.
        clock: for the times.
        cap: how many runs may have a slot at once, over all executors.
        worker: who dispatches, and is to start the run within a minute.

    Raises:
        PrefectUnavailableError: no flow run could be made; the slot was given back.
    """
    while store.waiting_runs(clock.now(), limit=1):
        run = None
        try:
            with store.begin_dispatch() as dispatch:
                free = cap - dispatch.count_admitted()
                waiting = dispatch.waiting_runs(clock.now(), limit=1)
                if free < 1 or not waiting:
                    return None
                run = _admit(dispatch, clock, waiting[0], worker)
        except StoreUnavailableError:
            if run is None or not _was_admitted(store, run):
                raise
        launched = _launch(store, launcher, clock, run, worker)
        if launched is not None:
            return launched
    return None


def admit(store: RunStore, clock: Clock, run: Run, cap: int, worker: str) -> Run:
    """Admit this run if its turn has come; else it stays as it is. The run as it then stands."""
    with store.begin_dispatch() as dispatch:
        free = cap - dispatch.count_admitted()
        key = RunKey(run.tenant_id, run.id)
        if free > 0 and key in dispatch.waiting_runs(clock.now(), limit=min(free, _MANY)):
            return _admit(dispatch, clock, key, worker)
        return dispatch.of_tenant(run.tenant_id).get_run(run.id)


def give_back(store: RunStore, clock: Clock, run: Run, worker: str) -> None:
    """Give back the slot of a run that could not be started now."""

    def write(again: bool) -> None:
        del again  # what was given back is nobody's to give back once more
        with store.begin(run.tenant_id) as tx:
            current = tx.lock_run(run.id)
            tx.unlock(walk_lock(run.id), dispatcher_of(worker))
            now = clock.now()
            if find_walker(tx, run.id, now) is not None:
                return  # it was started all the same, though the answer was lost
            if current.admitted_at == run.admitted_at and not current.ended:
                back = without_slot(current, now)
                tx.save_run(current, back)
                if back.status is not current.status:
                    leave_status(tx, back, now)

    steadily(write, START_WITHIN)


def _admit(dispatch: DispatchTransaction, clock: Clock, key: RunKey, worker: str) -> Run:
    now = clock.now()
    tx = dispatch.of_tenant(key.tenant_id)
    run = tx.lock_run(key.run_id)
    if run.status is RunStatus.VALIDATED:
        admitted = run.move_to(RunStatus.QUEUED, now, admitted_at=now)
    else:
        admitted = run.changed(now, admitted_at=now)
    tx.save_run(run, admitted)
    # So that a sweep sees that somebody is about to start it.
    take_lock(tx, walk_lock(run.id), dispatcher_of(worker), now, now + START_WITHIN)
    return admitted


def _was_admitted(store: RunStore, run: Run) -> bool:
    """Whether an admission stands whose answer was lost: nobody else would look for a minute."""

    def look(again: bool) -> bool:
        del again
        with store.begin(run.tenant_id, read_only=True) as tx:
            return tx.get_run(run.id).admitted_at == run.admitted_at

    return steadily(look, START_WITHIN)


def _launch(store: RunStore, launcher: Launcher, clock: Clock, run: Run, worker: str) -> Run | None:
    """Have the flow run of an admitted run made ready, and write its id down.

    None where somebody else took or ended the run meanwhile, or where it has to fail.
    """
    try:
        if run.flow_run_id is not None and launcher.find_cancelled([run.flow_run_id]):
            end_run(store, clock, run.tenant_id, run.id, RunStatus.CANCELLED, CANCELLED_IN_PREFECT)
            return None
        flow_run_id = launcher.launch(run)
    except TransientError:
        give_back(store, clock, run, worker)
        raise
    except FactoryError as error:  # Prefect refuses it, or its inputs are gone
        with suppress(ConflictError):  # somebody else ended it
            end_run(store, clock, run.tenant_id, run.id, RunStatus.FAILED, error.explain())
        return None

    def write(again: bool) -> Run | None:
        del again  # a flow run that is written down already is the answer
        with store.begin(run.tenant_id) as tx:
            current = tx.lock_run(run.id)
            if current.ended or current.admitted_at != run.admitted_at:
                return None
            if current.flow_run_id == flow_run_id:
                return current
            launched = current.changed(clock.now(), flow_run_id=flow_run_id)
            tx.save_run(current, launched)
            return launched

    return steadily(write, START_WITHIN)
