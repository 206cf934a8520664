"""Thousands of dead letters of one kind: what is read at once, and how often, does not grow."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import LetterFilter, OrderStatus
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.records import (
    FAILURE_KINDS,
    JOBS,
    LETTER_COUNTS,
    LETTERS,
    RUNS,
    LetterCount,
)
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.services import redrive
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.topics import GO_ON_REDRIVING
from tests.builders import FINGERPRINT, NOON, TENANT, a_failure_kind, a_job, a_letter, a_run, after
from tests.small_factory import SmallFactory

MANY = 2_000
VERY_MANY = pytest.param(10_000, marks=pytest.mark.soak)
KIND = LetterFilter(fingerprint=FINGERPRINT, can_go_round=True)


class Reading:
    """How often a store was asked, and the most rows that it gave at once."""

    def __init__(self) -> None:
        self.statements = 0
        self.rows = 0


@pytest.fixture
def store(sqlite_url: str) -> Generator[SqlRunStore]:
    opened = open_run_store(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def look(store: SqlRunStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    plain = TenantRows.list

    @contextmanager
    def look() -> Generator[Reading]:
        seen = Reading()

        def listed(self: Any, *arguments: Any, **more: Any) -> Any:
            found = plain(self, *arguments, **more)
            seen.rows = max(seen.rows, len(found))
            return found

        def asked(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.statements += not statement.startswith(("BEGIN", "PRAGMA"))

        event.listen(store.engine, "before_cursor_execute", asked)
        with monkeypatch.context() as patched:
            patched.setattr(TenantRows, "list", listed)
            yield seen
        event.remove(store.engine, "before_cursor_execute", asked)

    return look


def fill(store: SqlRunStore, count: int) -> None:
    """Failed runs of one job each, with a letter."""
    plan = Body(reference=BodyReference("c" * 64, 1))
    failed = [a_run(status=RunStatus.FAILED, plan=plan, completed_at=NOON) for _ in range(count)]
    jobs = [a_job(run, status=JobStatus.FAILED) for run in failed]
    letters = [a_letter(job, failed_at=after(n / 1000)) for n, job in enumerate(jobs)]
    counted = LetterCount(TENANT, FINGERPRINT, count, count, NOON, letters[-1].failed_at)
    with store.engine.begin() as connection:
        for record, values in (
            (RUNS, failed),
            (JOBS, jobs),
            (LETTERS, letters),
            (LETTER_COUNTS, [counted]),
            (FAILURE_KINDS, [a_failure_kind()]),
        ):
            rows: list[Any] = [record.row_of(value) for value in values]  # pyright: ignore[reportArgumentType] - each of its record
            connection.execute(insert(record.table), rows)


def test_a_list_and_a_preview_take_a_statement_or_two(
    store: SqlRunStore, look: Callable[..., Any]
) -> None:
    fill(store, MANY)
    with look() as seen:
        (group,) = store.letter_groups()
        with store.begin(TENANT, read_only=True) as tx:
            first = tx.list_dead_letters(KIND, limit=10)
            count = tx.count_dead_letters(KIND)
    assert (group.letters, group.runs, count) == (MANY, MANY, MANY)
    assert (len(first), seen.rows) == (10, 10)
    assert seen.statements == 4, "the groups and their words, the first ten, how many"


@pytest.mark.parametrize("count", [60, MANY, VERY_MANY])
def test_an_order_takes_as_much_however_many_letters_there_are(
    store: SqlRunStore,
    look: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(redrive, "PAGE", 25)
    fill(store, count)
    factory = SmallFactory(tmp_path / "templates", store)
    redriver = Redriver(store, factory.clock, factory.desk)
    with look() as ordering:
        order = redriver.order(TENANT, KIND, "grace")
    assert order.total == count
    assert (ordering.statements, ordering.rows) == (6, 20)
    for page in (1, 2):
        message = factory.messages(GO_ON_REDRIVING)[-1]
        with look() as seen:
            redriver.handle(message)
        with store.begin(TENANT, read_only=True) as tx:
            (stands,) = tx.list_redrive_orders()
        assert (stands.status, stands.redriven) == (OrderStatus.RELEASING, 25 * page)
        assert seen.rows == 25
        assert seen.statements < 25 * 40
