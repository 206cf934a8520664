"""The run store's contract: who wants a slot, who has one, and what a sweep looks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from factory_runtime.domain.errors import PermanentError, RunNotFoundError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import AuditEntry, SetAside
from factory_runtime.domain.run import RUN_ENDED, Priority, Run, RunStatus
from factory_runtime.ports import (
    EVERYBODY,
    JobKey,
    RunFilter,
    RunKey,
    RunStore,
    SeenRun,
    SlotHolder,
)
from tests.builders import TENANT, a_claimed_job, a_job, a_run, after
from tests.stored import added

OTHER = "umbrella"


def a_validated_run(**values: Any) -> Run:
    return a_run(status=RunStatus.VALIDATED, **values)


def keys(*runs: Run) -> tuple[RunKey, ...]:
    return tuple(RunKey(run.tenant_id, run.id) for run in runs)


def waiting(store: RunStore, limit: int = 10) -> tuple[RunKey, ...]:
    """What both ways of asking agree on, a minute after noon."""
    plain = store.waiting_runs(after(60), limit)
    with store.begin_dispatch() as dispatch:
        assert dispatch.waiting_runs(after(60), limit) == plain
    return plain


# --- who wants a slot


def test_the_urgent_get_a_slot_first_and_then_the_oldest(run_store: RunStore) -> None:
    low = added(run_store, a_validated_run(priority=Priority.LOW, requested_at=after(0)))
    late = added(run_store, a_validated_run(tenant_id=OTHER, requested_at=after(2)))
    early = added(run_store, a_validated_run(requested_at=after(1)))
    left = a_run(status=RunStatus.RUNNING, requested_at=after(1.5))
    added(run_store, left)
    high = added(run_store, a_validated_run(priority=Priority.HIGH, requested_at=after(3)))
    assert waiting(run_store) == keys(high, early, left, late, low)
    assert waiting(run_store, limit=2) == keys(high, early)


def test_runs_requested_at_the_same_moment_stand_in_the_order_of_their_ids(
    run_store: RunStore,
) -> None:
    runs = [added(run_store, a_validated_run(id=name)) for name in ("run-b", "run-C", "run-a")]
    assert waiting(run_store) == keys(*sorted(runs, key=lambda run: run.id))


WANTING: dict[str, dict[str, Any]] = {
    "never begun": {"status": RunStatus.VALIDATED},
    "resumed or retried": {"status": RunStatus.QUEUED},
    "left by a killed process": {"status": RunStatus.RUNNING},
    "waiting, and its time has come": {"status": RunStatus.WAITING, "wake_at": after(60)},
}
NOT_WANTING: dict[str, dict[str, Any]] = {
    "not validated yet": {"status": RunStatus.REQUESTED},
    "queued with a slot": {"status": RunStatus.QUEUED, "admitted_at": after(1)},
    "running with a slot": {"status": RunStatus.RUNNING, "admitted_at": after(1)},
    "not due yet": {"status": RunStatus.WAITING, "wake_at": after(60.000001)},
    "waiting for a person": {"status": RunStatus.WAITING},
    "paused": {"status": RunStatus.PAUSED},
    **{status.value: {"status": status, "completed_at": after(9)} for status in RUN_ENDED},
    **{
        f"{why} and {asked}": {**values, asked: after(1)}
        for (why, values), asked in product(
            WANTING.items(), ("pause_requested_at", "cancel_requested_at")
        )
    },
}


@pytest.mark.parametrize("why", WANTING)
def test_a_run_wants_a_slot_that_is(run_store: RunStore, why: str) -> None:
    run = added(run_store, a_run(**WANTING[why]))
    assert waiting(run_store) == keys(run)


def test_no_other_run_wants_a_slot(run_store: RunStore) -> None:
    for values in NOT_WANTING.values():
        added(run_store, a_run(**values))
    assert waiting(run_store, limit=100) == ()


@pytest.mark.parametrize("free", [0, -1])
def test_where_no_slot_is_free_nobody_gets_one(run_store: RunStore, free: int) -> None:
    added(run_store, a_validated_run())
    assert waiting(run_store, limit=free) == ()


# --- who has one


def test_taken_slots_are_counted_over_all_tenants(run_store: RunStore) -> None:
    with run_store.begin_dispatch() as dispatch:
        assert len(dispatch.holders()) == 0
    for tenant in (TENANT, OTHER):
        for status in (RunStatus.QUEUED, RunStatus.RUNNING):
            added(run_store, a_run(tenant_id=tenant, status=status, admitted_at=after(1)))
            added(run_store, a_run(tenant_id=tenant, status=status))
    with run_store.begin_dispatch() as dispatch:
        assert len(dispatch.holders()) == 4
    assert len(run_store.running_runs()) == 4


def test_those_are_found_whose_lock_somebody_holds(run_store: RunStore) -> None:
    slot = {"status": RunStatus.QUEUED, "admitted_at": after(1), "flow_run_id": "flow-1"}
    held = added(run_store, a_run(tenant_id=OTHER, **slot))
    others = {
        "another's": added(run_store, a_run(**slot | {"flow_run_id": "flow-2"})),
        "no flow run": added(run_store, a_run(**slot | {"flow_run_id": None})),
        "no slot": added(run_store, a_run(**slot | {"flow_run_id": "flow-3", "admitted_at": None})),
    }
    for run in (held, *others.values()):
        with run_store.begin(run.tenant_id) as tx:
            holder = "ada" if run is others["another's"] else "pool"
            assert tx.try_lock(f"run:{run.id}", holder, after(1), after(9))
    seen = SeenRun(RunKey(OTHER, held.id), "flow-1", held.version)
    assert run_store.held_runs("run:", "pool", after(8)) == (seen,)
    assert run_store.held_runs("run:", "pool", after(9)) == ()
    assert run_store.held_runs("walk:", "pool", after(8)) == ()


def test_a_run_that_stops_gives_its_slot_back(run_store: RunStore) -> None:
    for status in (RunStatus.WAITING, RunStatus.PAUSED, *RUN_ENDED):
        run = added(run_store, a_run(status=RunStatus.RUNNING, admitted_at=after(1)))
        assert run_store.running_runs() == keys(run)
        with run_store.begin(TENANT) as tx:
            tx.save_run(run, run.move_to(status, after(2)))
        assert run_store.running_runs() == ()


def test_a_dispatcher_sees_what_it_admits_and_writes_it_all_or_nothing(
    run_store: RunStore,
) -> None:
    run, other = (
        added(run_store, a_validated_run()),
        added(run_store, a_validated_run(tenant_id=OTHER)),
    )

    def admit(raising: type[BaseException] | None = None) -> None:
        with run_store.begin_dispatch() as dispatch:
            for key in dispatch.waiting_runs(after(0)):
                tx = dispatch.of_tenant(key.tenant_id)
                held = tx.lock_run(key.run_id)
                tx.save_run(held, held.move_to(RunStatus.QUEUED, after(1), admitted_at=after(1)))
            assert len(dispatch.holders()) == 2
            assert dispatch.waiting_runs(after(0)) == ()
            if raising is not None:
                raise raising

    with pytest.raises(KeyboardInterrupt):
        admit(KeyboardInterrupt)
    assert run_store.running_runs() == ()
    assert set(waiting(run_store)) == set(keys(run, other))
    admit()
    assert set(run_store.running_runs()) == set(keys(run, other))


def test_a_dispatcher_too_sees_one_tenants_rows_at_a_time(run_store: RunStore) -> None:
    run = added(run_store, a_validated_run())
    with run_store.begin_dispatch() as dispatch:
        tx = dispatch.of_tenant(OTHER)
        assert tx.tenant_id == OTHER
        assert tx.list_runs(RunFilter()).items == ()
        with pytest.raises(RunNotFoundError):
            tx.lock_run(run.id)


def test_what_a_dispatcher_leaves_for_a_tenant_is_there_when_it_has_ended(
    run_store: RunStore,
) -> None:
    entry = AuditEntry(TENANT, new_id("aud"), after(0), "ada", "run.request", "run-1", {})
    with run_store.begin_dispatch() as dispatch:
        dispatch.of_tenant(TENANT).add_audit([entry])
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_audit() == (entry,)


def test_the_row_that_dispatchers_queue_for_is_no_tenants(run_store: RunStore) -> None:
    with run_store.begin_dispatch(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    with run_store.begin(TENANT) as tx:
        assert tx.try_lock("dispatch", "ada", after(0), after(60))
    with run_store.begin_dispatch() as dispatch:
        assert len(dispatch.holders()) == 0


# --- whose turn it is


def heads(store: RunStore) -> dict[str, str]:
    """The first run of each tenant, a minute after noon."""
    with store.begin_dispatch(read_only=True) as dispatch:
        found = dispatch.heads(after(60))
    assert len(found) == len({head.tenant_id for head in found})
    return {head.tenant_id: head.run_id for head in found}


def queue_of(store: RunStore, limit: int = 10, without: tuple[str, ...] = ()) -> list[str]:
    with store.begin_dispatch(read_only=True) as dispatch:
        found = dispatch.queue_of(TENANT, after(60), limit=limit, without_projects=without)
    return [run.run_id for run in found]


def test_each_tenant_has_one_head_its_urgent_and_then_its_oldest(run_store: RunStore) -> None:
    added(run_store, a_validated_run(requested_at=after(1)))
    first = added(run_store, a_validated_run(requested_at=after(3), priority=Priority.HIGH))
    added(run_store, a_validated_run(requested_at=after(2), priority=Priority.LOW))
    woken = added(run_store, a_run(tenant_id=OTHER, **WANTING["waiting, and its time has come"]))
    added(run_store, a_validated_run(tenant_id=OTHER, requested_at=after(1)))
    alone = added(run_store, a_validated_run(tenant_id="zebra"))
    assert heads(run_store) == {TENANT: first.id, OTHER: woken.id, "zebra": alone.id}


@pytest.mark.parametrize("why", WANTING)
def test_a_run_heads_its_queue_that_is(run_store: RunStore, why: str) -> None:
    run = added(run_store, a_run(**WANTING[why]))
    assert heads(run_store) == {TENANT: run.id}
    assert queue_of(run_store) == [run.id]


def test_no_other_run_stands_in_a_queue(run_store: RunStore) -> None:
    for values in NOT_WANTING.values():
        added(run_store, a_run(**values))
    assert heads(run_store) == {}
    assert queue_of(run_store) == []


def test_a_queue_is_read_in_its_order_part_by_part_and_without_some_projects(
    run_store: RunStore,
) -> None:
    shop = added(run_store, a_validated_run(requested_at=after(1)))
    blog = added(run_store, a_validated_run(requested_at=after(2), project_id="blog"))
    waits = {"status": RunStatus.WAITING, "wake_at": after(60)}
    woken = added(run_store, a_run(requested_at=after(1.5), **waits))
    added(run_store, a_validated_run(tenant_id=OTHER))
    assert queue_of(run_store) == [shop.id, woken.id, blog.id]
    assert queue_of(run_store, limit=2) == [shop.id, woken.id]
    assert queue_of(run_store, without=("shop", "nobody's")) == [blog.id]


def test_a_run_that_is_set_aside_stands_in_no_queue_until_its_time(run_store: RunStore) -> None:
    first = added(run_store, a_validated_run(requested_at=after(1)))
    second = added(run_store, a_validated_run(requested_at=after(2)))
    waits = {"status": RunStatus.WAITING, "wake_at": after(1)}
    woken = added(run_store, a_run(tenant_id=OTHER, **waits))

    def set_aside(run: Run, until: float) -> None:
        with run_store.begin(run.tenant_id) as tx:
            tx.save_set_aside(SetAside(run.tenant_id, run.id, 1, after(until), "it fails"))

    set_aside(first, 61)
    set_aside(woken, 61)
    assert heads(run_store) == {TENANT: second.id}
    assert queue_of(run_store) == [second.id]
    set_aside(first, 60)
    assert heads(run_store) == {TENANT: first.id}
    assert queue_of(run_store) == [first.id, second.id]
    with run_store.begin(OTHER) as tx:
        tx.drop_set_aside(woken.id)
    assert heads(run_store) == {TENANT: first.id, OTHER: woken.id}


def test_the_holders_of_slots_are_named_with_their_projects(run_store: RunStore) -> None:
    expected = {
        SlotHolder(run.tenant_id, run.project_id, run.id)
        for tenant, project in ((TENANT, "shop"), (TENANT, "shop"), (OTHER, "blog"))
        for run in [
            added(
                run_store,
                a_run(
                    tenant_id=tenant,
                    project_id=project,
                    status=RunStatus.RUNNING,
                    admitted_at=after(1),
                ),
            )
        ]
    }
    added(run_store, a_validated_run())
    with run_store.begin_dispatch(read_only=True) as dispatch:
        found = dispatch.holders()
    assert len(found) == 3
    assert set(found) == expected


def test_virtual_time_is_kept_and_written_all_or_nothing(run_store: RunStore) -> None:
    with run_store.begin_dispatch() as dispatch:
        assert dispatch.served() == {}
        dispatch.serve(TENANT, 1.5)
        dispatch.serve(EVERYBODY, 1 / 3)

    def move_on_and_raise() -> None:
        with run_store.begin_dispatch() as dispatch:
            dispatch.serve(TENANT, 2.5)
            assert dispatch.served()[TENANT] == 2.5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        move_on_and_raise()
    with run_store.begin_dispatch(read_only=True) as dispatch:
        assert dispatch.served() == {TENANT: 1.5, EVERYBODY: 1 / 3}


def test_who_only_looks_at_the_queue_cannot_write(run_store: RunStore) -> None:
    run = added(run_store, a_validated_run())
    with run_store.begin_dispatch(read_only=True) as dispatch:
        with pytest.raises(PermanentError, match="read only"):
            dispatch.serve(TENANT, 1)
        with pytest.raises(PermanentError, match="read only"):
            dispatch.of_tenant(TENANT).lock_run(run.id)


# --- what a sweep looks for


def test_overdue_is_an_open_run_past_its_deadline_or_unwanted_and_each_is_named_once(
    run_store: RunStore,
) -> None:
    late = {"deadline_at": after(60)}
    unwanted = {"cancel_requested_at": after(1)}
    overdue = [
        added(run_store, a_run(status=status, tenant_id=tenant, **values))
        for status in set(RunStatus) - RUN_ENDED
        for tenant in (TENANT, OTHER)
        for values in (late, unwanted, {**late, **unwanted})
    ]
    added(run_store, a_run(status=RunStatus.RUNNING, deadline_at=after(60.000001)))
    added(run_store, a_run(status=RunStatus.RUNNING))
    asked = {"people_asked_at": after(30)}  # its deadline stands still
    added(run_store, a_run(status=RunStatus.WAITING, **asked, **late))
    overdue.append(added(run_store, a_run(status=RunStatus.WAITING, **asked, **unwanted)))
    for status in RUN_ENDED:
        added(run_store, a_run(status=status, completed_at=after(2), **late, **unwanted))
    found = run_store.overdue_runs(after(60))
    assert len(found) == len(set(found))
    assert set(found) == set(keys(*overdue))
    assert len(set(run_store.overdue_runs(after(60), limit=5))) == 5


def test_expired_is_a_running_job_whose_lease_has_run_out_longest_first(
    run_store: RunStore,
) -> None:
    run = a_run(status=RunStatus.RUNNING)
    jobs = [
        a_claimed_job(run, step="late", lease_expires_at=after(60)),
        a_claimed_job(run, step="later", lease_expires_at=after(30)),
        a_claimed_job(run, step="alive", lease_expires_at=after(60.000001)),
        a_claimed_job(run, step="no-lease", lease_owner=None, lease_expires_at=None),
        a_job(run, step="open"),
        # It should have none, and is not taken for dead where it has.
        a_claimed_job(run, step="waiting", status=JobStatus.WAITING, lease_expires_at=after(1)),
    ]
    added(run_store, run, *(replace(job, position=n) for n, job in enumerate(jobs)))
    foreign = replace(run, tenant_id=OTHER)
    added(run_store, foreign, a_claimed_job(foreign, step="late", lease_expires_at=after(45)))
    expected = (
        JobKey(TENANT, run.id, "later"),
        JobKey(OTHER, run.id, "late"),
        JobKey(TENANT, run.id, "late"),
    )
    assert run_store.expired_jobs(after(60)) == expected
    assert run_store.expired_jobs(after(60), limit=1) == expected[:1]
    assert run_store.expired_jobs(after(0) - timedelta(days=9)) == ()


def test_open_flow_runs_are_read_part_by_part_without_gaps(run_store: RunStore) -> None:
    # Ids that a language's own order would sort in another way.
    names = ["run-10", "run-9", "run-B", "run-a", "run_c"]
    expected = sorted(
        (
            _seen(added(run_store, a_run(tenant_id=tenant, id=name, flow_run_id=f"flow-{name}")))
            for tenant in (TENANT, OTHER)
            for name in names
        ),
        key=lambda run: run.key,
    )
    added(run_store, a_run())
    added(run_store, a_run(flow_run_id="flow-unwanted", cancel_requested_at=after(1)))
    added(
        run_store,
        a_run(status=RunStatus.SUCCEEDED, completed_at=after(1), flow_run_id="flow-gone"),
    )
    found: list[SeenRun] = []
    place: RunKey | None = None
    while page := run_store.open_flow_runs(after=place, limit=3):
        found += page
        place = page[-1].key
    assert found == expected


def _seen(run: Run) -> SeenRun:
    return SeenRun(RunKey(run.tenant_id, run.id), str(run.flow_run_id), run.version)
