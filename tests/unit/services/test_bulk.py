"""Doing one thing to many runs, on each of the real databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    FactoryError,
    IllegalTransitionError,
    StoreUnavailableError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services import bulk
from factory_runtime.services.bulk import choose, count, do_to_all
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.plans import read_plan
from factory_runtime.services.retry_run import retry_run
from tests.builders import TENANT
from tests.small_factory import SmallFactory, fails, steps

FAILED = RunFilter(can_be_retried=True)
OPEN = RunFilter(statuses=(RunStatus.VALIDATED, RunStatus.QUEUED))


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the real databases."""
    return SmallFactory(tmp_path / "templates", database_store)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)


def failed_runs(factory: SmallFactory, number: int) -> list[Run]:
    text = "inputs: {type: object, properties: {text: {type: string, default: hi}}}\n"
    factory.template(text + steps("a: with: {text: '${{ inputs.text }}'}"))
    factory.on["a"] = fails(ValueError("no"))
    ended = list[Run]()
    for _ in range(number):
        run = factory.request()
        walk = factory.take_up(run, f"flow-of-{run.id}")
        ended.append(factory.drive(walk))
        factory.clock.pass_time()
    return ended


def chosen(factory: SmallFactory, where: RunFilter) -> Iterator[Run]:
    return choose(partial(factory.store.begin, TENANT, read_only=True), where)


def retrying(factory: SmallFactory, run_id: str, change: Change = Change()) -> Run:  # noqa: B008
    store, clock = factory.store, factory.clock
    return retry_run(store, clock, TENANT, run_id, "bob", change=change, desk=factory.desk)


def test_what_is_counted_is_what_is_chosen_and_done(factory: SmallFactory):
    runs = failed_runs(factory, 5)
    newest_first = [run.id for run in reversed(runs)]
    assert count(factory.store, TENANT, FAILED) == 5
    assert [run.id for run in chosen(factory, FAILED)] == newest_first
    told = list(do_to_all(chosen(factory, FAILED), partial(retrying, factory)))
    assert [one.run_id for one in told] == newest_first
    assert all(one.run == factory.run(run) for one, run in zip(told, reversed(runs), strict=True))
    assert count(factory.store, TENANT, FAILED) == 0


def test_who_starts_it_again_does_what_is_left(factory: SmallFactory):
    failed_runs(factory, 5)
    on_the_way = do_to_all(chosen(factory, FAILED), partial(retrying, factory))
    done = {told.run_id for told in islice(on_the_way, 3)}
    rest = {t.run_id for t in do_to_all(chosen(factory, FAILED), partial(retrying, factory))}
    assert (len(done), len(rest), done & rest) == (3, 2, set())


def test_a_run_that_ended_on_the_way_is_told_of_and_stays_as_it_is(factory: SmallFactory):
    factory.template(steps("a:"))
    runs = [factory.request() for _ in range(3)]

    def cancel(run_id: str) -> Run:
        if run_id == runs[1].id:
            end_run(factory.store, factory.clock, TENANT, run_id, RunStatus.FAILED, "first")
        return cancel_run(factory.store, factory.clock, TENANT, run_id, "bob")

    told = {one.run_id: one for one in do_to_all(chosen(factory, OPEN), cancel)}
    assert isinstance(told[runs[1].id].error, IllegalTransitionError)
    assert [factory.run(run).status for run in runs] == [
        RunStatus.CANCELLED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    ]


def test_where_nothing_can_be_done_now_the_others_are_left_for_later(factory: SmallFactory):
    failed_runs(factory, 3)

    def away(run_id: str) -> Run:
        raise TransientError("it is away")

    with pytest.raises(TransientError):
        list(do_to_all(chosen(factory, FAILED), away))
    assert count(factory.store, TENANT, FAILED) == 3


def test_a_run_that_the_store_is_too_busy_for_does_not_keep_the_others(factory: SmallFactory):
    runs = failed_runs(factory, 3)

    def retry(run_id: str) -> Run:
        if run_id == runs[1].id:
            raise StoreUnavailableError("deadlock detected")
        return retrying(factory, run_id)

    told = {one.run_id: one.error for one in do_to_all(chosen(factory, FAILED), retry)}
    assert isinstance(told.pop(runs[1].id), StoreUnavailableError)
    assert set(told.values()) == {None}
    assert count(factory.store, TENANT, FAILED) == 1


def test_two_who_retry_the_same_runs_with_changes_retry_each_once(factory: SmallFactory):
    runs = failed_runs(factory, 4)
    together = Barrier(2)

    def do(text: str) -> list[str]:
        change = Change(inputs={"text": text})
        together.wait(10)
        told = do_to_all(chosen(factory, FAILED), partial(retrying, factory, change=change))
        return [one.run_id for one in told if one.error is None]

    with ThreadPoolExecutor(2) as pool:
        ada, eve = pool.map(do, ["ada's", "eve's"])
    assert sorted([*ada, *eve]) == sorted(run.id for run in runs)
    for run in runs:
        stands = factory.run(run)
        text = read_plan(factory.storage, stands).inputs["text"]
        assert (stands.cycle, text) == (1, "ada's" if run.id in ada else "eve's")


def test_of_retries_of_one_run_with_different_changes_at_once_one_is_made(factory: SmallFactory):
    (run,) = failed_runs(factory, 1)
    together = Barrier(3)

    def do(text: str) -> str:
        together.wait(10)
        try:
            return retrying(factory, run.id, Change(inputs={"text": text})).status
        except FactoryError as error:
            return error.code

    with ThreadPoolExecutor(3) as pool:
        told = sorted(pool.map(do, "abc"))
    assert told[0] == RunStatus.QUEUED
    assert set(told[1:]) <= {"illegal-transition", "stale-version"}
    assert factory.run(run).cycle == 1
    assert [job.version for job in factory.jobs(run).values()] == [4]
