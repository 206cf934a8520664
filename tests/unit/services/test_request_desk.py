"""Requests that come at once share a transaction, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from factory_runtime.domain.errors import FactoryError, LostCommitError, StoreUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunFilter, RunTransaction
from factory_runtime.services import request_run
from factory_runtime.services.audit import acting
from factory_runtime.services.policy_check import Ruling
from factory_runtime.services.request_desk import RequestDesk, Write
from tests.builders import TENANT
from tests.small_factory import SmallFactory

TEMPLATE = """
inputs:
  type: object
  required: [name]
  properties:
    name: {type: string, pattern: "^[a-z]+$"}
steps:
  - {name: base, type: paint, with: {source: files, data: {name: "${{ inputs.name }}"}}}
"""
PATIENCE = 20.0


class Slow:
    """The store's transactions: the first that writes waits until so many others want to."""

    def __init__(self, factory: SmallFactory, monkeypatch: pytest.MonkeyPatch, others: int) -> None:
        self.begun = 0
        self._begin = factory.store.begin
        self._commits = factory.desk._commits  # pyright: ignore[reportPrivateUsage]
        self._others = others
        monkeypatch.setattr(factory.store, "begin", self.begin)

    @contextmanager
    def begin(self, tenant_id: str, **options: Any) -> Generator[Any]:
        if not options.get("read_only"):
            self.begun += 1
            if self.begun == 1:
                self._wait()
        with self._begin(tenant_id, **options) as tx:
            yield tx

    def _wait(self) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE / 0.005)):
            if len(self._commits._waiting[TENANT]) == self._others:  # pyright: ignore[reportPrivateUsage]
                return
            pause.wait(0.005)
        raise AssertionError("the others did not come")


@pytest.fixture
def shop(factory: SmallFactory) -> SmallFactory:
    factory.template(TEMPLATE)
    return factory


def runs_of(factory: SmallFactory) -> tuple[Run, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_runs(RunFilter()).items


def test_runs_that_come_at_once_are_committed_in_one_transaction(
    shop: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    slow = Slow(shop, monkeypatch, others=3)

    def ask(name: str) -> Run:
        with acting(f"address of {name}"):
            return shop.request(inputs={"name": name}, requested_by=name)

    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(ask, ["ada", "bob", "cyd", "dee"]))
    assert slow.begun == 2  # the first, and the three that came meanwhile
    assert {run.id for run in runs_of(shop)} == {run.id for run in runs}
    with shop.store.begin(TENANT, read_only=True) as tx:
        for run in runs:
            (entry,) = tx.list_audit(subject=run.id)
            assert entry.origin == f"address of {run.requested_by}"
            assert [event.sequence for event in tx.list_events(run.id)] == [1, 2]


def test_one_key_of_two_at_once_gives_one_run_and_the_others_theirs(
    shop: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    slow = Slow(shop, monkeypatch, others=3)
    keys = ["first", "same", "same", "own"]

    def ask(key: str) -> Run:
        return shop.request(inputs={"name": "x"}, idempotency_key=key)

    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(ask, keys))
    assert runs[1].id == runs[2].id
    assert {run.id for run in runs_of(shop)} == {run.id for run in runs}
    assert len(runs_of(shop)) == 3
    assert slow.begun > 2  # the three together were refused, and tried alone


def ask_four(shop: SmallFactory, keys: Sequence[str]) -> list[Run | FactoryError]:
    """What becomes of four requests, the last three of which come while the first is written."""

    def ask(key: str) -> Run | FactoryError:
        try:
            return shop.request(inputs={"name": "x"}, idempotency_key=key)
        except FactoryError as error:
            return error

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(ask, keys))


def test_a_write_that_fails_harms_none_that_comes_with_it(
    shop: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    slow = Slow(shop, monkeypatch, others=3)
    hold = request_run.hold_quota

    def full(tx: RunTransaction, ruling: Ruling, at: datetime) -> None:
        hold(tx, ruling, at)
        if threading.current_thread() in busy:
            raise StoreUnavailableError("a row was locked for too long")

    busy = set[threading.Thread]()
    monkeypatch.setattr(request_run, "hold_quota", full)
    commit = RequestDesk.commit

    def commits(desk: RequestDesk, tenant_id: str, write: Write, **more: Any) -> None:
        def of_one(tx: RunTransaction) -> None:
            busy.add(threading.current_thread())
            try:
                write(tx)
            finally:
                busy.discard(threading.current_thread())

        commit(desk, tenant_id, of_one if more["place"].endswith(":bad") else write, **more)

    monkeypatch.setattr(RequestDesk, "commit", commits)
    found = ask_four(shop, ["a", "b", "bad", "c"])
    assert [isinstance(one, Run) for one in found] == [True, True, False, True]
    assert isinstance(found[2], StoreUnavailableError)
    assert slow.begun == 1 + 1 + 3  # the first, the group of three, and each of it alone


def test_a_commit_whose_answer_is_lost_is_tried_again_for_nobody(
    shop: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    slow = Slow(shop, monkeypatch, others=3)
    begin = shop.store.begin

    @contextmanager
    def losing(tenant_id: str, **options: Any) -> Generator[Any]:
        with begin(tenant_id, **options) as tx:
            yield tx
        if not options.get("read_only"):
            raise LostCommitError("the connection was cut")

    monkeypatch.setattr(shop.store, "begin", losing)
    found = ask_four(shop, ["a", "b", "c", "d"])
    assert all(isinstance(one, LostCommitError) for one in found)
    assert slow.begun == 2
    monkeypatch.undo()
    runs = {run.id for run in runs_of(shop)}
    assert len(runs) == 4
    again = ask_four(shop, ["a", "b", "c", "d"])
    assert {one.id for one in again if isinstance(one, Run)} == runs
