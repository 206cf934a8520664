"""What a run is shown of the memory, and written once, however its attempts end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    LeaseLostError,
    PermanentError,
)
from factory_runtime.domain.memory import Kind, MemoryUse
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services import run_attempt
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.recall import Recaller
from factory_runtime.services.run_attempt import publish_attempt
from tests.builders import TENANT, after
from tests.remembering import Remembering
from tests.shelf import Shelf, keep, memory, on_both, recalls, uses
from tests.small_factory import THRICE, SmallFactory, busy, gives, raises, steps
from tests.undoing import UndoFactory


@on_both
def test_what_is_recalled_is_written_when_the_attempt_ends(
    factory: SmallFactory, shelf: Shelf
) -> None:
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = recalls("mem-2")
    begun = factory.begin(walk, "a")
    factory.clock.pass_time(timedelta(seconds=2))
    publish_attempt(factory.engine, walk, begun, None)
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_uses(run_id=walk.run.id)
    first = MemoryUse(TENANT, walk.run.id, "a", "mem-1", "shop", 1, 1.0, after(2))
    second = replace(first, memory_id="mem-2", rank=2, score=0.9, used_at=after(2))
    assert found == (first, second)
    (asked,) = shelf.asked
    assert (asked.text, asked.limit, asked.projects) == ("orders", 5, ("shop",))
    assert asked.exclude_run_ids == (walk.run.id,)


def test_a_job_may_ask_for_some_kinds_and_for_few(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = recalls(kinds=["failure"])
    factory.on["b"] = recalls(k=1)
    factory.drive(walk)
    assert uses(factory, walk.run) == [("a", "mem-2", 1, False), ("b", "mem-1", 1, False)]
    assert shelf.asked[0].kinds == (Kind.FAILURE,)


@pytest.mark.parametrize("how", [{"k": 0}, {"k": 101}, {"kinds": ["failures"]}], ids=str)
def test_what_cannot_be_asked_is_refused(
    factory: SmallFactory, shelf: Shelf, how: Mapping[str, Any]
) -> None:
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls(**how)
    factory.finish(walk, "a")
    assert factory.attempts(walk.run)[0].error_code == "input"
    assert shelf.asked == []


def test_a_memory_shown_twice_is_one_row_as_it_was_shown_first(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def twice(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("payments", kinds=[Kind.FAILURE])
        factory.clock.pass_time()
        context.recall("orders")
        return JobResult()

    walk = factory.start(steps("a:"))
    factory.on["a"] = twice
    factory.drive(walk)
    assert uses(factory, walk.run) == [("a", "mem-2", 1, False), ("a", "mem-1", 1, False)]


@on_both
def test_a_second_attempt_keeps_the_row_of_the_first_and_may_use_it(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def first_fails(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders")
        if context.facts.attempt == 1:
            raise busy()
        return JobResult(used=("mem-1",))

    walk = factory.start(steps(f"a: {THRICE}"))
    factory.on["a"] = first_fails
    assert isinstance(factory.attempt(walk, "a"), AnotherAttempt)
    assert uses(factory, walk.run) == [("a", "mem-1", 1, False), ("a", "mem-2", 2, False)]
    shown_at = factory.clock.at
    factory.clock.pass_time()
    factory.finish(walk, "a")
    with factory.store.begin(TENANT, read_only=True) as tx:
        used, other = tx.list_uses(run_id=walk.run.id)
    assert (used.shown_at, other.used_at) == (shown_at, None)
    assert used.used_at is not None
    assert used.used_at > shown_at


def test_an_undo_is_shown_what_it_recalls_as_the_run_that_it_is(tmp_path: Path) -> None:
    factory = UndoFactory(tmp_path / "templates")
    factory.engine = replace(factory.engine, recall=Shelf(factory.store).recall)
    keep(factory, memory("mem-1"))
    run = factory.made()

    def once_more(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders")
        if context.facts.attempt == 1:
            raise busy()
        return JobResult()

    factory.on["undo-last"] = once_more
    undoing = factory.undo(run)
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED
    assert uses(factory, undoing) == [("undo-last", "mem-1", 1, False)]
    assert uses(factory, run) == []
    factory.store.close()


@pytest.mark.parametrize("end", ["fails", "waits"])
def test_however_an_attempt_ends_what_it_was_shown_is_written(
    factory: SmallFactory, shelf: Shelf, end: str
) -> None:
    def ends(context: JobContext, _with: Mapping[str, Any]) -> JobResult | WaitUntil:
        context.recall("orders", k=1)
        if end == "fails":
            raise PermanentError("no")
        return WaitUntil(context.now() + timedelta(hours=1), "waits")

    walk = factory.start(steps("a:"))
    factory.on["a"] = ends
    factory.attempt(walk, "a")
    assert uses(factory, walk.run) == [("a", "mem-1", 1, False)]


def test_a_job_sees_what_is_of_its_project_or_of_none(factory: SmallFactory) -> None:
    known = Remembering(factory.store)
    recaller = Recaller(lambda: factory.store, factory.clock, known.open)
    factory.engine = replace(factory.engine, recall=recaller.recall)
    walk = factory.start(steps("a:"))
    forgotten = memory("mem-forgotten", text="orders that were lost")
    known.remember(
        memory("mem-own", text="orders and payments"),
        memory("mem-of-all", project_id=None, kind=Kind.CODE, text="def orders(): ..."),
        memory("mem-of-others", project_id="bank", text="orders of shares"),
        memory("mem-of-this-run", run_id=walk.run.id, text="orders are being made"),
        memory("mem-of-umbrella", tenant_id="umbrella", project_id=None, text="orders, umbrellas"),
        forgotten,
    )
    known.forget(forgotten)
    factory.on["a"] = recalls(query="orders")
    factory.drive(walk)
    assert {id_ for _, id_, _, _ in uses(factory, walk.run)} == {"mem-own", "mem-of-all"}


# --- kills and doubles


@on_both
def test_of_an_attempt_that_was_killed_as_it_ended_nothing_is_written(
    factory: SmallFactory, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls("mem-1")
    begun = factory.begin(walk, "a")
    with monkeypatch.context() as killing:
        killing.setattr(run_attempt, "write_logs", raises(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            publish_attempt(factory.engine, walk, begun, None)
    assert begun.drawing.used
    assert uses(factory, walk.run) == []
    factory.on["a"] = gives()
    factory.drive(factory.take_over(walk))
    assert uses(factory, walk.run) == []


def test_who_lost_the_job_writes_nothing(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = recalls("mem-1", k=1)
    lost = factory.begin(walk, "a")
    other = factory.take_over(walk, factory.engine_of("other:1"))
    factory.on["a"] = gives()
    factory.attempt(other, "a")
    factory.on["a"] = recalls("mem-1", k=1)
    with pytest.raises(FactoryError) as refusal:
        publish_attempt(factory.engine, walk, lost, None)
    assert not isinstance(refusal.value, PermanentError | InputError | LeaseLostError)
    assert uses(factory, walk.run) == []


def test_the_end_of_an_attempt_told_twice_writes_no_second_row(
    factory: SmallFactory, shelf: Shelf
) -> None:
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = recalls("mem-1", k=1)
    begun = factory.begin(walk, "a")
    publish_attempt(factory.engine, walk, begun, None)
    before = uses(factory, walk.run)
    publish_attempt(factory.engine, walk, begun, None)  # as where its answer was lost
    assert uses(factory, walk.run) == before == [("a", "mem-1", 1, True)]
