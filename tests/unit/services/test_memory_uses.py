"""What a run is shown of the memory, and what it says that it used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    LeaseLostError,
    MemoryUnavailableError,
    PermanentError,
    RequestConflictError,
    UnknownMemoryError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import ForgetScope, Forgotten, Kind, Memory, MemoryUse, Recalled
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext, RecallQuery, RunStore
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.services import ask_memory, run_attempt
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.memory_uses import find_own, told_of
from factory_runtime.services.recall import Recaller
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from tests.builders import NOON, TENANT, a_memory, a_run, after
from tests.remembering import Remembering
from tests.small_factory import THRICE, SmallFactory, busy, gives, raises, steps
from tests.undoing import UndoFactory


class Shelf:
    """A memory whose search gives all that the tenant has there, in the order of ids."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.asked: list[RecallQuery] = []
        self.shared: tuple[Recalled, ...] = ()

    def recall(self, tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        self.asked.append(query)
        with self.store.begin(tenant_id, read_only=True) as tx:
            found = [one for one in tx.list_memories() if one.kind in (query.kinds or Kind)]
        scored = [Recalled(one, 1 - rank / 10) for rank, one in enumerate(found)]
        return (*scored, *self.shared)[: query.limit]


@pytest.fixture
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[SmallFactory]:
    """In memory, or on SQLite where a test says so."""
    on_disk = getattr(request, "param", "memory") == "sqlite"
    store = request.getfixturevalue("sqlite_store") if on_disk else InMemoryRunStore()
    small = SmallFactory(tmp_path / "templates", store)
    yield small
    small.store.close()


on_both = pytest.mark.parametrize("factory", ["memory", "sqlite"], indirect=True)


@pytest.fixture
def shelf(factory: SmallFactory) -> Shelf:
    shelf = Shelf(factory.store)
    factory.engine = replace(factory.engine, recall=shelf.recall)
    keep(factory, memory("mem-1"), memory("mem-2", kind=Kind.FAILURE))
    return shelf


def memory(id_: str, **values: Any) -> Memory:
    return a_memory(**{"id": id_, "project_id": "shop", **values})


def keep(factory: SmallFactory, *memories: Memory) -> None:
    with factory.store.begin(memories[0].tenant_id) as tx:
        tx.save_memories(memories)


def lose(factory: SmallFactory, *ids: str) -> None:
    """As a pattern is lost that no longer holds."""
    with factory.store.begin(TENANT) as tx:
        tx.delete_memories(ids)


def forget(factory: SmallFactory, *ids: str) -> None:
    """As the run is forgotten that taught them."""
    lose(factory, *ids)
    with factory.store.begin(TENANT) as tx:
        tx.add_forgotten(Forgotten(TENANT, ForgetScope.RUN, "run-other", factory.clock.at))


def uses(factory: SmallFactory, run: Run) -> list[tuple[str, str, int, bool]]:
    """Step, memory, rank and whether it was used."""
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        found = tx.list_uses(run_id=run.id)
    return [(one.step, one.memory_id, one.rank, one.used_at is not None) for one in found]


def recalls(*used: str, query: str = "orders", **how: Any) -> Any:
    def behaviour(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        found = context.recall(query, **how)
        return JobResult({"ids": [one.memory.id for one in found]}, used=used)

    return behaviour


# --- what is shown


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


# --- what was used


def test_a_job_may_use_what_a_job_before_it_was_shown(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = recalls(k=1)
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, True)]


@pytest.mark.parametrize("invented", ["mem-9", "mem-2", "x' OR '1'='1"])
def test_what_the_run_was_never_shown_is_no_use_of_it(
    factory: SmallFactory, shelf: Shelf, invented: str
) -> None:
    walk = factory.start(steps(f"a: {THRICE}"))
    factory.on["a"] = recalls("mem-1", invented, k=1)
    factory.finish(walk, "a")
    (attempt,) = factory.attempts(walk.run)
    assert attempt.outcome is Outcome.PERMANENT
    assert attempt.error_code == "unshown-memory"
    assert invented in str(attempt.error)
    assert factory.jobs(walk.run)["a"].status is JobStatus.FAILED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, False)]


def test_what_another_run_was_shown_is_not_shown_to_this_one(
    factory: SmallFactory, shelf: Shelf
) -> None:
    factory.on["a"] = recalls("mem-1")
    factory.complete(steps("a:"))
    factory.on["a"] = lambda _context, _with: JobResult(used=("mem-1",))
    walk = factory.take_up(factory.request(), "flow-2")
    factory.finish(walk, "a")
    assert factory.attempts(walk.run)[0].error_code == "unshown-memory"


@on_both
def test_what_was_forgotten_meanwhile_leaves_no_row_and_fails_nothing(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        found = context.recall("orders")
        forget(factory, "mem-1")
        return JobResult(used=tuple(one.memory.id for one in found))

    walk = factory.start(steps("a:"))
    factory.on["a"] = outlived
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-2", 2, True)]


def test_a_job_may_use_what_one_before_it_was_shown_though_it_is_forgotten_with_its_run(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders", k=1)
        forget(factory, "mem-1")
        return JobResult()

    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = outlived
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == []


def test_a_job_may_use_what_one_before_it_was_shown_though_it_holds_no_longer(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders", k=1)
        lose(factory, "mem-1")
        return JobResult()

    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = outlived
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, True)]


@pytest.mark.parametrize("scope", ForgetScope)
def test_a_run_goes_on_though_all_that_it_was_shown_is_forgotten(
    factory: SmallFactory, shelf: Shelf, scope: ForgetScope
) -> None:
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = recalls(k=1)
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    factory.finish(walk, "a")
    with factory.store.begin(TENANT) as tx:
        tx.delete_memories(["mem-1", "mem-2"])
        tx.delete_uses(project_id="shop")
        key = {ForgetScope.TENANT: "", ForgetScope.PROJECT: "shop", ForgetScope.RUN: walk.run.id}
        tx.add_forgotten(Forgotten(TENANT, scope, key[scope], factory.clock.at))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == []


def test_what_another_tenant_shares_is_shown_and_may_be_used(
    factory: SmallFactory, shelf: Shelf
) -> None:
    theirs = memory("mem-theirs", tenant_id="library", project_id=None, kind=Kind.TEMPLATE)
    keep(factory, theirs)
    shelf.shared = (Recalled(theirs, 0.4, shared_by="library"),)
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls("mem-theirs")
    factory.drive(walk)
    assert uses(factory, walk.run)[-1] == ("a", "mem-theirs", 3, True)
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_uses(run_id=walk.run.id)
    used, *rest = told_of(partial(find_own, factory.store), TENANT, found)
    assert (used.use.memory_id, used.title) == ("mem-theirs", None)
    assert [one.kind for one in rest] == [Kind.RUN, Kind.FAILURE]
    lent = {"mem-theirs": Recalled(theirs, 0.0, shared_by="library")}
    used, *_ = told_of(
        lambda _, ids, _seen: [lent[id_] for id_ in ids if id_ in lent], TENANT, found
    )
    assert (used.title, used.kind) == (theirs.title, Kind.TEMPLATE)


# --- a memory that is broken, missing or silent


@pytest.mark.parametrize(
    ("recall", "line"),
    [
        (None, "there is no memory here"),
        (raises(MemoryUnavailableError("the index is damaged")), "the index is damaged"),
        (raises(OSError("table runs is gone")), "OSError: table runs is gone"),
        (raises(InputError("the embedder is none")), "the embedder is none"),
    ],
    ids=["none", "damaged", "gone", "refused"],
)
def test_a_memory_that_cannot_be_searched_gives_nothing_and_a_line(
    factory: SmallFactory, recall: Any, line: str
) -> None:
    factory.engine = replace(factory.engine, recall=recall)
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls()
    run = factory.drive(walk)
    assert run.status is RunStatus.SUCCEEDED
    assert walk.outputs["a"] == {"ids": []}
    (event,) = factory.events(run, "log")
    assert event.detail["message"] == f"recalled nothing: {line}"


def test_nothing_to_look_for_is_nothing_found(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls(query=" \n")
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert (shelf.asked, uses(factory, walk.run)) == ([], [])


def test_a_search_that_hangs_is_waited_for_no_longer_than_is_said(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_memory, "PATIENCE", timedelta(seconds=0.2))
    over = threading.Event()

    def hangs(_tenant: str, _query: RecallQuery) -> tuple[Recalled, ...]:
        over.wait()
        return ()

    factory.engine = replace(factory.engine, recall=hangs)
    walk = factory.start(steps(*(f"a{number}:" for number in range(10))))
    for number in range(10):  # more than may hang at once
        factory.on[f"a{number}"] = recalls()
    threads = [
        threading.Thread(target=factory.finish, args=(walk, f"a{number}")) for number in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    said = {str(event.detail["message"]) for event in factory.events(walk.run, "log")}
    assert said
    assert said <= {
        "recalled nothing: the memory did not answer in 0.2 s",
        "recalled nothing: too many searches do not come to an end",
    }
    assert {job.status for job in factory.jobs(walk.run).values()} == {JobStatus.SUCCEEDED}


def test_a_job_that_is_to_stop_waits_for_no_search(factory: SmallFactory) -> None:
    walk = factory.start(steps("a:"))
    begun, over = factory.begin(walk, "a"), threading.Event()

    def hangs(_tenant: str, _query: RecallQuery) -> tuple[Recalled, ...]:
        begun.stop()
        over.wait()
        return ()

    factory.on["a"] = recalls()
    tried = replace(factory.engine, recall=hangs)
    with pytest.raises(FactoryError) as stop:
        publish_attempt(tried, walk, begun, None)
    over.set()
    fail_attempt(tried, walk, begun, stop.value)
    assert factory.attempts(walk.run)[0].outcome is Outcome.CANCELLED


def test_a_secret_that_a_job_was_lent_is_in_no_query(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    begun.secrets.add(["hunter2-hunter2"])
    factory.on["a"] = recalls(query="why is hunter2-hunter2 refused")
    publish_attempt(factory.engine, walk, begun, None)
    (asked,) = shelf.asked
    assert "hunter2" not in asked.text
    assert asked.text.endswith("refused")


# --- what a request says that it drew from


@on_both
def test_a_request_names_what_it_drew_from(factory: SmallFactory, shelf: Shelf) -> None:
    factory.template(steps("a:"))
    run = factory.request(drawn_from=("mem-2", "mem-1", "mem-2"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_uses(run_id=run.id)
    first = MemoryUse(TENANT, run.id, "", "mem-2", "shop", 1, 0.0, NOON, used_at=NOON)
    assert found == (first, replace(first, memory_id="mem-1", rank=2))


def test_the_same_request_again_is_the_same_run_and_rows(
    factory: SmallFactory, shelf: Shelf
) -> None:
    factory.template(steps("a:"))
    asked: dict[str, Any] = {"idempotency_key": "order-1", "drawn_from": ("mem-1", "mem-2")}
    run = factory.request(**asked)
    factory.clock.pass_time()
    in_another_order: dict[str, Any] = {**asked, "drawn_from": ("mem-2", "mem-1")}
    assert factory.request(**in_another_order).id == run.id
    assert len(uses(factory, run)) == 2
    with pytest.raises(RequestConflictError):
        factory.request(idempotency_key="order-1", drawn_from=("mem-1",))
    forget(factory, "mem-1", "mem-2")  # it was accepted: what becomes of them since is no matter
    assert factory.request(**asked).id == run.id


@pytest.mark.parametrize(
    "other",
    [
        memory("mem-3", project_id="bank"),
        memory("mem-3", tenant_id="umbrella", project_id=None),
        memory("mem-4"),
    ],
    ids=["of another project", "of another tenant", "of nobody"],
)
def test_a_request_draws_from_what_its_project_may_see(
    factory: SmallFactory, shelf: Shelf, other: Memory
) -> None:
    keep(factory, other)
    factory.template(steps("a:"))
    with pytest.raises(UnknownMemoryError, match=r"has no memory mem-3$") as refusal:
        factory.request(drawn_from=("mem-1", "mem-3"))
    refused = factory.run(replace(a_run(), id=refusal.value.run_id or ""))
    assert refused.status is RunStatus.FAILED
    assert uses(factory, refused) == []


def test_a_request_may_draw_from_what_another_tenant_shares(
    factory: SmallFactory, shelf: Shelf
) -> None:
    theirs = memory("mem-theirs", tenant_id="library", project_id=None)
    lent = (Recalled(theirs, 0.0, shared_by="library"),)

    def find(_tenant: str, _ids: Sequence[str], _seen: object) -> Sequence[Recalled]:
        return lent

    factory.desk = replace(factory.desk, find_memories=find)
    factory.template(steps("a:"))
    run = factory.request(drawn_from=("mem-theirs",))
    assert uses(factory, run) == [("", "mem-theirs", 1, True)]


@pytest.mark.parametrize(
    "given",
    [
        ("",),
        ("m" * 65,),
        ("mem 1",),
        ("mem-\0",),
        ("mem-\udcff",),
        ("é",),
        tuple(f"mem-{n}" for n in range(51)),
    ],
    ids=ascii,
)
def test_what_can_be_no_memory_is_refused(
    factory: SmallFactory, shelf: Shelf, given: tuple[str, ...]
) -> None:
    factory.template(steps("a:"))
    with pytest.raises(InputError) as refusal:
        factory.request(drawn_from=given)
    assert refusal.value.hint


def test_a_filter_in_an_id_is_an_id(factory: SmallFactory, shelf: Shelf) -> None:
    factory.template(steps("a:"))
    with pytest.raises(UnknownMemoryError):
        factory.request(drawn_from=("x'OR'1'='1",))


def test_who_draws_from_nothing_costs_no_look_at_the_memory(
    factory: SmallFactory, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.template(steps("a:"))
    for name in ("find_memories", "add_uses", "list_uses", "mark_used"):
        monkeypatch.setattr(SqlTransaction, name, raises(AssertionError(name)))
    factory.drive(factory.take_up(factory.request()))
