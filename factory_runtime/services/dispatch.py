"""Give runs a slot: ours to decide, fair between tenants; Prefect is asked for those admitted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CancelledError,
    ConflictError,
    FactoryError,
    NotFoundError,
    PermanentError,
    PrefectFailedError,
    StoreUnavailableError,
    TemplateChangedError,
    TransientError,
)
from factory_runtime.domain.records import SetAside
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import (
    EVERYBODY,
    Clock,
    DispatchTransaction,
    Launcher,
    RunKey,
    RunStore,
    RunTransaction,
)
from factory_runtime.services.end_run import BY_PREFECT, end_run
from factory_runtime.services.locks import POOL, dispatcher_of, find_walker, take_lock, walk_lock
from factory_runtime.services.messages import leave_status
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import without_slot
from factory_runtime.services.turns import (
    AskedLimits,
    LimitsOf,
    Line,
    SeenLine,
    no_limits,
    price,
    turns,
)

T = TypeVar("T")

START_WITHIN = timedelta(seconds=60)
"""How long a run keeps its slot before this process walks it, or has handed it over."""

CANCELLED_IN_PREFECT = f"cancelled by {BY_PREFECT}"

ASIDE_FIRST = timedelta(seconds=2)
"""How long a run that could not be started is set aside at first; each further time doubles it."""

ASIDE_LONGEST = timedelta(minutes=1)
"""Not for longer: it may not have been the run's fault."""

BEGIN_WITHIN = timedelta(seconds=10)
"""How long dispatchers leave a run to the process that began it in Prefect: it is there already."""

_ASIDE_AT_ONCE = 3
"""Runs that one call sets aside before it gives up: Prefect may fail at all of them."""

_OWN_FAULT = (ArtifactNotFoundError, TemplateChangedError)
"""A run's inputs or its template are gone. What else is gone, or was raced, is there another time."""

_LOG = logging.getLogger("factory.dispatch")


def dispatch_next(
    store: RunStore,
    launcher: Launcher,
    clock: Clock,
    cap: int,
    worker: str,
    limits_of: LimitsOf = no_limits,
) -> Run | None:
    """Admit the next run and have its flow run begun; None where none can start.

    Who is to execute it, this process or Prefect's workers, is the launcher's to say.

    It is the first of those that want a slot (``turns``): new ones, those resumed or retried, those
    whose wait is over, and those that a killed process left. Killed between the admission and
    Prefect's answer, the sweep takes the slot back. One that cannot be read, or at which Prefect
    fails, is set aside for a growing while, and the next is taken.

    Args:
        store: the record.
        launcher: asks Prefect.
        clock: for the times.
        cap: how many runs may have a slot at once, over all executors.
        worker: who dispatches, and is to start the run within a minute.
        limits_of: each tenant's.

    Raises:
        PrefectUnavailableError: no flow run could be made; the slot was given back.
    """
    failed, limits = 0, AskedLimits(limits_of)
    while (key := _next(store, clock, cap, limits)) is not None:
        run = None
        try:
            with store.begin_dispatch() as dispatch:
                turn = next(_in_turn(dispatch, clock.now(), cap, limits.recall), None)
                if limits.missed:
                    continue  # somebody came before those that were looked at
                if turn is None:
                    return None
                key = turn
                run = _admit(dispatch, clock, key, worker, limits, is_next=True)
        except StoreUnavailableError:
            if run is None or not _was_admitted(store, run):
                raise
        except PermanentError as error:  # its row is damaged
            _set_aside(store, clock, key, error)
            continue
        try:
            launched = _launch(store, launcher, clock, run, worker)
        except PrefectFailedError:
            failed += 1
            if failed == _ASIDE_AT_ONCE:
                raise
            continue
        if launched is not None:
            return launched
    return None


def admit(
    store: RunStore,
    clock: Clock,
    run: Run,
    cap: int,
    worker: str,
    limits_of: LimitsOf = no_limits,
) -> Run:
    """Admit this run if its turn has come; else it stays as it is. The run as it then stands.

    It may have been left to this process (``leave_to_beginner``).
    """
    mine, limits = RunKey(run.tenant_id, run.id), AskedLimits(limits_of)
    then = clock.now() + BEGIN_WITHIN
    while mine in _in_turn(SeenLine(store, then), then, cap, limits.ask):
        with store.begin_dispatch() as dispatch:
            for place, key in enumerate(_in_turn(dispatch, then, cap, limits.recall)):
                if limits.missed:
                    break  # somebody came before those that were looked at
                if key == mine:
                    dispatch.of_tenant(key.tenant_id).drop_set_aside(key.run_id)
                    return _admit(dispatch, clock, key, worker, limits, is_next=place == 0)
            else:
                break
    with store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def leave_to_beginner(tx: RunTransaction, run: Run, now: datetime) -> None:
    """Have dispatchers leave a new run that began in Prefect to the process that asks for it.

    Else one would be quicker, and begin the flow run once more beside that process.
    """
    reason = "the process that began it in Prefect is about to take it up"
    tx.save_set_aside(SetAside(run.tenant_id, run.id, 0, now + BEGIN_WITHIN, reason))


def leave_to_dispatchers(store: RunStore, run: Run) -> None:
    """Have dispatchers start a run when its turn has come: who began it in Prefect does not."""
    with store.begin(run.tenant_id) as tx:
        tx.drop_set_aside(run.id)


def _next(store: RunStore, clock: Clock, cap: int, limits: AskedLimits) -> RunKey | None:
    """Whose turn it is, without waiting for other dispatchers: mostly it is nobody's."""
    now = clock.now()
    return next(_in_turn(SeenLine(store, now), now, cap, limits.ask), None)


def _in_turn(line: Line, now: datetime, cap: int, limits_of: LimitsOf) -> Iterator[RunKey]:
    """Those whose turn it is while slots are free."""
    free = max(0, cap - len(line.holders()))
    if free:
        yield from (run.key for run in islice(turns(line, now, limits_of), free))


def give_back(
    store: RunStore, clock: Clock, run: Run, worker: str, failure: FactoryError | None = None
) -> None:
    """Give back the slot of a run that could not be started now.

    Args:
        store: the record.
        clock: for the times.
        run: as it was admitted.
        worker: who admitted it.
        failure: given where it may be the run's own fault: it is set aside, and others are tried.
    """
    if failure is not None:
        _log_aside(RunKey(run.tenant_id, run.id), failure)

    def write(again: bool) -> None:
        del again  # what was given back is nobody's to give back once more
        with store.begin(run.tenant_id) as tx:
            current = tx.lock_run(run.id)
            tx.unlock(walk_lock(run.id), dispatcher_of(worker))
            now = clock.now()
            if find_walker(tx, run.id, now) is not None:
                return  # it was started all the same, though the answer was lost
            if current.admitted_at == run.admitted_at and not current.ended:
                if failure is not None:
                    _write_aside(tx, run.id, now, failure)
                back = without_slot(current, now)
                tx.save_run(current, back)
                if back.status is not current.status:
                    leave_status(tx, back, now)

    steadily(write, START_WITHIN)


def _admit(
    dispatch: DispatchTransaction,
    clock: Clock,
    key: RunKey,
    worker: str,
    limits: AskedLimits,
    *,
    is_next: bool,
) -> Run:
    now = clock.now()
    tx = dispatch.of_tenant(key.tenant_id)
    run = tx.lock_run(key.run_id)
    _charge(dispatch, key.tenant_id, price(limits.recall(key.tenant_id)), is_next=is_next)
    if run.status is RunStatus.VALIDATED:
        admitted = run.move_to(RunStatus.QUEUED, now, admitted_at=now)
    else:
        admitted = run.changed(now, admitted_at=now)
    tx.save_run(run, admitted)
    # So that a sweep sees that somebody is about to start it.
    take_lock(tx, walk_lock(run.id), dispatcher_of(worker), now, now + START_WITHIN)
    return admitted


def _charge(
    dispatch: DispatchTransaction, tenant_id: str, slot_price: float, *, is_next: bool
) -> None:
    """Move the tenant on for the slot it gets."""
    served = dispatch.served()
    present = served.get(EVERYBODY, 0.0)
    start = max(served.get(tenant_id, 0.0), present)
    dispatch.serve(tenant_id, start + slot_price)
    if is_next and start > present:  # others who stand before it keep their places
        dispatch.serve(EVERYBODY, start)


def _set_aside(store: RunStore, clock: Clock, key: RunKey, failure: FactoryError) -> None:
    """Set a run aside that cannot even be read."""
    _log_aside(key, failure)
    with store.begin(key.tenant_id) as tx:
        _write_aside(tx, key.run_id, clock.now(), failure)


def _write_aside(tx: RunTransaction, run_id: str, now: datetime, failure: FactoryError) -> None:
    before = tx.find_set_aside(run_id)
    times = 1 if before is None else before.times + 1
    wait = min(ASIDE_FIRST * 2 ** min(times - 1, 16), ASIDE_LONGEST)
    tx.save_set_aside(SetAside(tx.tenant_id, run_id, times, now + wait, failure.explain()))


def _log_aside(key: RunKey, failure: FactoryError) -> None:
    _LOG.warning("run %s of %s is set aside: %s", key.run_id, key.tenant_id, failure)


def _was_admitted(store: RunStore, run: Run) -> bool:
    """Whether an admission stands whose answer was lost: nobody else would look for a minute."""

    def look(again: bool) -> bool:
        del again
        with store.begin(run.tenant_id, read_only=True) as tx:
            return tx.get_run(run.id).admitted_at == run.admitted_at

    return steadily(look, START_WITHIN)


def _launch(store: RunStore, launcher: Launcher, clock: Clock, run: Run, worker: str) -> Run | None:
    """Have an admitted run's flow run made, write its id down, and only then have it begun.

    A worker that began it before would not find the run. None where somebody else took or ended
    the run meanwhile, or where it has to fail.
    """

    def ask(question: Callable[[], T]) -> T | None:
        return _ask(store, clock, run, worker, question)

    flow_run_id = ask(lambda: launcher.launch(run))
    launched = None if flow_run_id is None else _note_flow_run(store, clock, run, flow_run_id)
    if launched is None or (patience := ask(lambda: launcher.hand_over(launched))) is None:
        return None
    if patience:
        _hold_for_workers(store, clock, run, worker, patience)
    return launched


def _ask(
    store: RunStore, clock: Clock, run: Run, worker: str, question: Callable[[], T]
) -> T | None:
    """Prefect's answer; None where the run had to end for it."""
    try:
        return question()
    except PrefectFailedError as error:
        give_back(store, clock, run, worker, error)
        raise
    except TransientError:
        give_back(store, clock, run, worker)
        raise
    except CancelledError as error:
        _end(store, clock, run, RunStatus.CANCELLED, error)
    except (ConflictError, NotFoundError) as error:
        if not isinstance(error, _OWN_FAULT):
            passing = PrefectFailedError(f"{run.id} cannot be launched now: {error}")
            give_back(store, clock, run, worker, passing)
            raise passing from error
        _end(store, clock, run, RunStatus.FAILED, error)
    except FactoryError as error:  # Prefect refuses it
        _end(store, clock, run, RunStatus.FAILED, error)
    return None


def _note_flow_run(store: RunStore, clock: Clock, run: Run, flow_run_id: str) -> Run | None:
    def write(again: bool) -> Run | None:
        del again  # a flow run that is written down already is the answer
        with store.begin(run.tenant_id) as tx:
            current = tx.lock_run(run.id)
            if current.ended or current.admitted_at != run.admitted_at:
                return None
            if current.flow_run_id == flow_run_id:
                _drop_beginner(tx, run.id)
                return current
            launched = current.changed(clock.now(), flow_run_id=flow_run_id)
            tx.save_run(current, launched)
            tx.drop_set_aside(run.id)
            return launched

    return steadily(write, START_WITHIN)


def _drop_beginner(tx: RunTransaction, run_id: str) -> None:
    """Forget who was to begin a run that is launched; its failures count on."""
    aside = tx.find_set_aside(run_id)
    if aside is not None and aside.times == 0:
        tx.drop_set_aside(run_id)


def _hold_for_workers(
    store: RunStore, clock: Clock, run: Run, worker: str, patience: timedelta
) -> None:
    """Hold the slot for whichever worker begins the run, whatever becomes of this process."""
    lock, mine = walk_lock(run.id), dispatcher_of(worker)

    def write(again: bool) -> None:
        del again
        with store.begin(run.tenant_id, durable=False) as tx:
            tx.lock_run(run.id)
            now = clock.now()
            if tx.find_lock_holder(lock, now) == mine:  # else a worker was quicker
                tx.unlock(lock, mine)
                tx.try_lock(lock, dispatcher_of(POOL), now, now + patience)

    steadily(write, START_WITHIN)


def _end(store: RunStore, clock: Clock, run: Run, status: RunStatus, error: FactoryError) -> None:
    with suppress(ConflictError):  # somebody else ended it
        end_run(store, clock, run.tenant_id, run.id, status, error.explain())
