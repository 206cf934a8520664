"""The run store in memory: every one begins empty, with all tables, and stays by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
from sqlalchemy import inspect

from factory_runtime.domain.errors import RunNotFoundError
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.run_store.tables import metadata
from tests.builders import TENANT, a_run


def test_stores_in_memory_share_nothing() -> None:
    run = a_run()
    with closing(InMemoryRunStore()) as one, closing(InMemoryRunStore()) as other:
        with one.begin(TENANT) as tx:
            tx.add_run(run)
        with closing(InMemoryRunStore()) as later:
            for store in (other, later):
                with (
                    pytest.raises(RunNotFoundError),
                    store.begin(TENANT, read_only=True) as tx,
                ):
                    tx.get_run(run.id)


def test_it_has_every_table_and_index() -> None:
    with closing(InMemoryRunStore()) as store:
        found = inspect(store.engine)
        for table in metadata.sorted_tables:
            named = {index["name"] for index in found.get_indexes(table.name)}
            assert named >= {index.name for index in table.indexes}


def test_stores_are_made_by_many_threads_at_once() -> None:
    start = Barrier(8)

    def use(number: int) -> int:
        start.wait()
        with closing(InMemoryRunStore()) as store:
            for _ in range(number):
                with store.begin(TENANT) as tx:
                    tx.add_run(a_run())
            with store.begin(TENANT, read_only=True) as tx:
                return tx.count_runs(RunFilter())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == list(range(8))
