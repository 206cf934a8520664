"""Which runs a filter lets pass, on every store."""

from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.domain.body import Body
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import SqlRunStore
from tests.builders import TENANT, a_job, a_letter, a_run, after

FAILED, SUCCEEDED = RunStatus.FAILED, RunStatus.SUCCEEDED


def ended(store: SqlRunStore, status: RunStatus = FAILED, at: float = 0, **values: Any) -> Run:
    """A run that ended so many seconds after noon."""
    known = {"plan": Body(inline={}), "inputs_digest": "1" * 64, "completed_at": after(at)}
    run = a_run(status=status, **{**known, **values})
    with store.begin(run.tenant_id) as tx:
        tx.add_run(run)
    return run


def passing(store: SqlRunStore, where: RunFilter) -> set[str]:
    """Ids of the runs that pass; as many as are counted."""
    with store.begin(TENANT, read_only=True) as tx:
        found = {run.id for run in tx.list_runs(where).items}
        assert tx.count_runs(where) == len(found)
    return found


def test_runs_are_found_by_when_they_ended(run_store: SqlRunStore):
    times = {at: ended(run_store, at=at) for at in (0, 10, 20)}
    with run_store.begin(TENANT) as tx:
        tx.add_run(a_run())  # open: it has not ended
    where = RunFilter(ended_since=after(10), ended_until=after(20))
    assert passing(run_store, where) == {times[10].id}
    assert passing(run_store, RunFilter(ended_since=after(0))) == {r.id for r in times.values()}


def test_a_run_that_succeeded_since_is_left_out(run_store: SqlRunStore):
    first = ended(run_store, at=0)
    ended(run_store, SUCCEEDED, at=10)
    last = ended(run_store, at=20)
    where = RunFilter(statuses=(FAILED,), not_since_succeeded=True)
    assert passing(run_store, where) == {last.id}
    assert passing(run_store, RunFilter(statuses=(FAILED,))) == {first.id, last.id}


@pytest.mark.parametrize(
    "other",
    [
        {"project_id": "another"},
        {"template_id": "another"},
        {"inputs_digest": "2" * 64},
        {"inputs_digest": None},
        {"tenant_id": "another"},
        {"undoes": "run-1"},
    ],
    ids=lambda other: str(*other),
)
def test_the_success_of_something_else_does_not_count(run_store: SqlRunStore, other: Any):
    failed = ended(run_store, at=0)
    ended(run_store, SUCCEEDED, at=10, **other)
    where = RunFilter(statuses=(FAILED,), not_since_succeeded=True)
    assert passing(run_store, where) == {failed.id}


def test_a_run_without_a_digest_has_nothing_to_be_compared_with(run_store: SqlRunStore):
    failed = ended(run_store, inputs_digest=None)
    ended(run_store, SUCCEEDED, at=10, inputs_digest=None)
    where = RunFilter(statuses=(FAILED,), not_since_succeeded=True)
    assert passing(run_store, where) == {failed.id}


def test_runs_are_found_by_what_they_or_their_jobs_failed_of(run_store: SqlRunStore):
    of_run = ended(run_store, error="outputs: Disk FULL")
    of_job = a_run(status=FAILED, error="failed: a")
    other = a_run(status=FAILED, error="failed: b")
    with run_store.begin(TENANT) as tx:
        tx.add_run(of_job, [a_job(of_job, status=JobStatus.FAILED, error="the disk is full")])
        tx.add_run(other, [a_job(other, status=JobStatus.FAILED, error="50% of it")])
    assert passing(run_store, RunFilter(error="disk")) == {of_run.id, of_job.id}
    assert passing(run_store, RunFilter(error="K FULL")) == {of_run.id}
    # What means something to SQL means itself.
    assert passing(run_store, RunFilter(error="50%")) == {other.id}
    assert passing(run_store, RunFilter(error="5%0")) == set()
    assert passing(run_store, RunFilter(error="_")) == set()
    assert passing(run_store, RunFilter(error="'; --")) == set()


def test_only_what_can_be_retried_passes_where_that_is_asked(run_store: SqlRunStore):
    good = ended(run_store)
    ended(run_store, SUCCEEDED)
    ended(run_store, plan=None)
    ended(run_store, undo_requested_by="eve")
    undone = ended(run_store)
    undoing = ended(run_store, undoes=undone.id)
    assert passing(run_store, RunFilter(can_be_retried=True)) == {good.id, undoing.id}


@pytest.mark.parametrize(
    ("letters", "wanted"),
    [
        ((LetterStatus.DISCARDED,), False),
        ((LetterStatus.DISCARDED, LetterStatus.CARRIED), False),
        ((LetterStatus.DISCARDED, LetterStatus.OPEN), True),
        ((LetterStatus.CARRIED,), True),
    ],
)
def test_a_run_whose_letters_were_all_discarded_is_wanted_no_more(
    run_store: SqlRunStore, letters: tuple[LetterStatus, ...], wanted: bool
):
    run = ended(run_store)
    with run_store.begin(TENANT) as tx:
        for number, status in enumerate(letters):
            job = a_job(run, id=f"job-{number}", step=f"step-{number}")
            tx.add_dead_letter(a_letter(job, id=f"letter-{number}", status=status))
    assert passing(run_store, RunFilter(can_be_retried=True)) == ({run.id} if wanted else set())
    assert passing(run_store, RunFilter(statuses=(FAILED,))) == {run.id}


def test_another_tenants_runs_never_pass(run_store: SqlRunStore):
    ended(run_store, tenant_id="other", error="disk")
    for where in (RunFilter(error="disk"), RunFilter(can_be_retried=True)):
        assert passing(run_store, where) == set()


def test_runs_are_found_by_words_of_their_names_and_inputs(run_store: SqlRunStore):
    orders = ended(run_store, inputs=Body({"service_name": "order-service", "with": ["Kafka"]}))
    bills = ended(run_store, SUCCEEDED, inputs=Body({"service_name": "bill-service"}))
    for text, found in {
        "service": {orders.id, bills.id},
        "ORDER-service": {orders.id},
        "kafka service": {orders.id},
        "kafka bill": set[str](),
        "serv": set[str](),
        "%": set[str](),
        " ": {orders.id, bills.id},
    }.items():
        assert passing(run_store, RunFilter(text=text)) == found, text
    assert passing(run_store, RunFilter(text="service", statuses=(FAILED,))) == {orders.id}
    with run_store.begin("umbrella", read_only=True) as tx:
        assert tx.count_runs(RunFilter(text="service")) == 0


def test_what_is_found_by_words_comes_in_parts_the_newest_first(run_store: SqlRunStore):
    runs = [
        ended(run_store, inputs=Body({"name": "same"}), requested_at=after(at)) for at in (1, 3, 2)
    ]
    where, seen, cursor = RunFilter(text="same"), list[str](), None
    for _ in runs:
        with run_store.begin(TENANT, read_only=True) as tx:
            page = tx.list_runs(where, limit=1, cursor=cursor)
        seen += [run.id for run in page.items]
        cursor = page.cursor
    assert seen == [runs[1].id, runs[2].id, runs[0].id]
    assert cursor is None


def test_runs_are_found_by_their_projects_and_by_ids_of_outside(run_store: SqlRunStore):
    shop = ended(run_store, project_id="shop", build_id="17", trace_id="a" * 32)
    mill = ended(run_store, project_id="mill", delivery_id="17", module_id="m")
    ended(run_store, project_id="farm", work_item_id="18")
    assert passing(run_store, RunFilter(projects=("shop", "mill"))) == {shop.id, mill.id}
    assert passing(run_store, RunFilter(projects=())) == set()
    assert passing(run_store, RunFilter(outside_id="17")) == {shop.id, mill.id}
    assert passing(run_store, RunFilter(outside_id="17", module_id="m")) == {mill.id}
    assert passing(run_store, RunFilter(trace_id="a" * 32)) == {shop.id}
