"""Requests that come at once share a transaction, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from factory_runtime.domain.errors import InvalidInputsError, StoreUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunFilter
from factory_runtime.services.audit import acting
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


def test_a_request_that_is_refused_harms_none_that_comes_with_it(shop: SmallFactory):
    def ask(name: str) -> Run | None:
        try:
            return shop.request(inputs={"name": name})
        except InvalidInputsError:
            return None

    names = ["ada", "NO", "bob", "NO NO"] * 4
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, names))
    assert [run is not None for run in found] == [name.islower() for name in names]


def test_a_commit_whose_answer_is_lost_is_not_tried_again(
    shop: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    begin = shop.store.begin

    @contextmanager
    def losing(tenant_id: str, **options: Any) -> Generator[Any]:
        with begin(tenant_id, **options) as tx:
            yield tx
        if not options.get("read_only"):
            raise StoreUnavailableError("the connection was cut")

    monkeypatch.setattr(shop.store, "begin", losing)
    with pytest.raises(StoreUnavailableError, match="was cut"):
        shop.request(inputs={"name": "ada"}, idempotency_key="k")
    monkeypatch.undo()
    (run,) = runs_of(shop)
    assert shop.request(inputs={"name": "ada"}, idempotency_key="k").id == run.id
