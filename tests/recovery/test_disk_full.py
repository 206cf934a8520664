"""No room: the attempt says so, nothing is half-written, and it goes on once there is room."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.records import ATTEMPTS, RUNS
from factory_runtime.services.retry_run import retry_run
from tests.recovery.core_ports import Orders
from tests.recovery.core_site import TENANT, CoreSite
from tests.recovery.core_worker import serve_in_small_files
from tests.work_types import append, lines_of

LARGE = "name: large, type: fill, with: {bytes: 100000}"
"""Outputs that go to artifact storage, as a file that is larger than the limit."""


_AWAY = frozenset({"store-unavailable", "lost-commit"})


@pytest.fixture
def core_site(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[CoreSite]:
    """Its database is another process's: the limit on files does not touch it."""
    url = str(request.getfixturevalue("postgres_url"))
    with closing(CoreSite(url, tmp_path / "home")) as site:
        yield site


@pytest.fixture
def sqlite_site(tmp_path: Path, sqlite_url: str) -> Generator[CoreSite]:
    with closing(CoreSite(sqlite_url, tmp_path / "home", lease=1.0)) as site:
        yield site


def attempts(site: CoreSite) -> list[Attempt]:
    return sorted(site.rows(ATTEMPTS), key=lambda attempt: attempt.number)


@pytest.mark.service
def test_an_attempt_that_finds_no_room_for_its_outputs_is_tried_again(core_site: CoreSite) -> None:
    site = core_site
    site.template(f"{LARGE}, retry: {{max_attempts: 10, delays: [1s], jitter: 0}}")
    run = site.request()
    site.start(serve_in_small_files)
    site.until(lambda: any(attempt.error for attempt in attempts(site)))
    first = attempts(site)[0]
    assert (first.outcome, first.error_code) == (Outcome.TRANSIENT, "storage-full")
    assert "no room left" in (first.error or "")
    assert not site.run(run).ended
    site.orders.room.touch()
    site.until_all_have_ended()
    site.end()
    site.assert_whole()
    assert not list((site.orders.home / "artifacts" / TENANT / "staging").iterdir())


@pytest.mark.service
def test_a_run_that_failed_for_want_of_room_goes_through_on_retry(core_site: CoreSite) -> None:
    site = core_site
    site.template(LARGE)
    run = site.request()
    site.start(serve_in_small_files)
    site.until_all_have_ended()
    failed = site.run(run)
    assert failed.status is RunStatus.FAILED
    assert [attempt.outcome for attempt in attempts(site)] == [*[Outcome.TRANSIENT] * 5]
    site.orders.room.touch()
    retry_run(site.core.store, site.core.clock, TENANT, run.id, "an operator")
    site.until_all_have_ended()
    site.end()
    site.assert_whole()
    assert attempts(site)[-1].number == 6


def test_runs_are_left_while_the_database_may_not_write_and_end_when_it_may(
    sqlite_site: CoreSite,
) -> None:
    site = sqlite_site
    name, *_ = site.repositories(1)
    for _ in range(6):
        site.request(name)
    site.start(serve_in_small_files)  # its log reaches the limit soon
    # By a statement, or by the commit.
    site.until(lambda: not _AWAY.isdisjoint(lines_of(site.orders.refusals)))
    assert site.open_runs() > 0
    assert {run.status for run in site.rows(RUNS)}.isdisjoint({RunStatus.FAILED})
    site.orders.room.touch()
    site.until_all_have_ended()
    site.end()
    site.assert_whole()


class Cramped:
    """Keeps an SQLite database at the pages that it has, until there is room."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._pages = 0

    def __call__(self, store: SqlRunStore) -> SqlRunStore:
        event.listen(store.engine, "checkout", self._limit)
        event.listen(store.engine, "handle_error", self._note)
        return store

    def _limit(self, connection: sqlite3.Connection, *_: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        self._pages = self._pages or pages
        most = 2**30 if self._orders.room.exists() else self._pages
        connection.execute(f"PRAGMA max_page_count = {most}")

    def _note(self, context: ExceptionContext) -> None:
        append(str(self._orders.refusals), str(context.original_exception).replace(" ", "-"))


def test_a_database_that_is_full_is_waited_for_and_no_run_is_the_worse_for_it(
    sqlite_site: CoreSite,
) -> None:
    site = sqlite_site
    name, *_ = site.repositories(1)
    for _ in range(10):
        site.request(name)
    site.start(wrap=Cramped(site.orders))
    site.until(lambda: "database-or-disk-is-full" in lines_of(site.orders.refusals))
    assert site.open_runs() > 0
    assert {run.status for run in site.rows(RUNS)}.isdisjoint({RunStatus.FAILED})
    site.orders.room.touch()
    site.until_all_have_ended()
    site.end()
    site.assert_whole()
