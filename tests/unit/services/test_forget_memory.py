"""What is forgotten is nowhere any more: no record, no vector, no row of any index."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from factory_runtime.domain.audit import AuditFilter
from factory_runtime.domain.errors import InputError, MemoryUnavailableError, NotFoundError
from factory_runtime.domain.memory import (
    Embedded,
    Erased,
    ForgetScope,
    Kind,
    Memory,
    MemoryUse,
    Observation,
    ObservationKind,
)
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RunStore, RunTransaction
from factory_runtime.run_store import open_run_store
from factory_runtime.services import drop_memories, forget_index, forget_memory, topics
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.forget_index import Forgetter
from factory_runtime.services.forget_memory import forget
from factory_runtime.services.forgotten import is_forgotten, refuse_what_is_being_forgotten
from factory_runtime.services.memory_lock import HOLD, NAME
from factory_runtime.services.migrate_memory import Migrator
from tests.builders import NOON, TENANT, a_memory, a_run
from tests.memories import HERE, Library, Words
from tests.small_factory import SmallFactory, steps

RUN, PROJECT, EVERYTHING = ForgetScope.RUN, ForgetScope.PROJECT, ForgetScope.TENANT
CANARY = "zzcanaryzz"


def refold(tx: RunTransaction, subjects: Collection[str], now: datetime) -> None:
    """Patterns stand while anything is seen of them, and say how often."""
    for pattern in tx.find_memories(subjects):
        seen = tx.list_observations(subject=pattern.id)
        assert pattern.kind is not Kind.CODE, "a repository has thousands of them"
        if pattern.kind is not Kind.FAILURE:
            continue
        if seen:
            tx.save_memories([replace(pattern, text=f"seen {len(seen)}", run_id=None)])
        else:
            tx.delete_memories([pattern.id])


class Forgetful(Library):
    """Two runs of one project, a pattern that both showed and one that one did."""

    def __init__(self, factory: SmallFactory) -> None:
        super().__init__(factory.store, factory.clock)
        self.forgetter = Forgetter(factory.store, factory.clock, self.models, HERE, refold)
        of_one = {"run_id": "run-1", "project_id": "shop"}
        of_two = {"run_id": "run-2", "project_id": "shop"}
        self.one, self.two = a_memory(text=CANARY, **of_one), a_memory(text="two", **of_two)
        self.both = a_memory(kind=Kind.FAILURE, text=f"seen 2 {CANARY}")
        self.only = a_memory(kind=Kind.FAILURE, text=f"seen 1 {CANARY}")
        self.code = a_memory(kind=Kind.CODE, text="def f(): ...", **of_one)
        self.template = a_memory(kind=Kind.TEMPLATE, text="template")
        self.learn(self.one, self.two, self.both, self.only, self.code, self.template)
        with factory.store.begin(TENANT) as tx:
            tx.add_observations(
                [
                    seen(self.both, "run-1"),
                    seen(self.both, "run-2"),
                    seen(self.only, "run-1"),
                    seen(self.code, "run-1", ObservationKind.FOUND),
                    seen(self.code, "run-2", ObservationKind.FOUND),
                ]
            )
            tx.add_uses([a_use("run-1", self.two), a_use("run-2", self.one)])
        self.indexer.catch_up(TENANT)

    def forget(self, scope: ForgetScope, key: str = "", tenant_id: str = TENANT) -> Erased:
        return forget(self.store, self.clock, refold, tenant_id, scope, key, "ada")

    def drain(self) -> Drained:
        drained = drain_outbox(self.store, self.clock, self.forgetter.handlers, HERE)
        self.indexer.catch_up_all()
        return drained


def seen(
    memory: Memory, run_id: str, kind: ObservationKind = ObservationKind.FAILED
) -> Observation:
    facts = {"run_id": run_id, "path": "a.py", "canary": CANARY}
    return Observation(TENANT, memory.id, kind, run_id, "a", 0, "here", NOON, "shop", facts=facts)


def a_use(run_id: str, memory: Memory) -> MemoryUse:
    return MemoryUse(TENANT, run_id, "a", memory.id, "shop", 1, 0.5, NOON)


@pytest.fixture
def library(factory: SmallFactory) -> Forgetful:
    return Forgetful(factory)


def test_of_a_run_all_is_forgotten_but_what_others_showed_too(library: Forgetful) -> None:
    assert library.forget(RUN, "run-1") == Erased(RUN, "run-1", memories=2, changed=2)
    assert library.drain().failed == 0
    left = {memory.id: memory for memory in library.all()}
    assert left.keys() == {
        library.two.id,
        library.both.id,
        library.code.id,
        library.template.id,
    }
    assert left[library.both.id].text == "seen 1"
    assert (left[library.code.id].run_id, left[library.code.id].path) == ("run-2", "a.py")
    assert library.index.ids() == sorted(left)
    assert all(CANARY not in row.memory.text for row in library.index.rows())
    assert library.vectors([CANARY, library.both.text, library.only.text]) == 0
    with library.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_uses(run_id="run-1") == ()
        (nameless,) = tx.list_uses(run_id="run-2")
        assert nameless.memory_id.startswith("forgotten-")
        assert {one.run_id for one in tx.list_observations()} == {"run-2"}


def test_what_is_told_of_elsewhere_from_now_on_waits_for_the_index_from_now_on(
    library: Forgetful, factory: SmallFactory
) -> None:
    factory.clock.pass_time(timedelta(days=90))
    library.forget(RUN, "run-1")
    with library.store.begin(TENANT, read_only=True) as tx:
        (moved,) = tx.find_memories([library.code.id])
    assert moved.changed_at == factory.clock.now()


def test_of_a_project_all_is_forgotten(library: Forgetful) -> None:
    assert library.forget(PROJECT, "shop").memories == 5
    library.drain()
    assert [memory.id for memory in library.all()] == [library.template.id]
    assert library.index.ids() == [library.template.id]


def test_of_a_tenant_all_is_forgotten_and_of_no_other(library: Forgetful) -> None:
    other = a_memory(tenant_id="umbrella")
    library.learn(other, tenant_id="umbrella")
    library.indexer.catch_up("umbrella")
    assert library.forget(EVERYTHING) == Erased(EVERYTHING, "", memories=6, changed=0)
    late = a_memory(text="late")
    library.learn(late)
    library.indexer.catch_up(TENANT)
    library.drain()
    assert library.index.ids() == [late.id], "what was learned since is there"
    assert library.index.ids("umbrella") == [other.id]


def test_of_a_tenant_nothing_is_left_of_models_that_nobody_knows_any_more(
    library: Forgetful, tmp_path: Path
) -> None:
    folder, unknown = tmp_path / "memory", Words("0")
    index = LanceMemoryIndex(folder, library.embedder)
    library.open_index = lambda _: index
    (vector,) = unknown.embed([CANARY])
    LanceMemoryIndex(folder, unknown).upsert(TENANT, [Embedded(library.one, vector)])
    assert files_with(folder, CANARY), "or the test shows nothing"
    library.forget(EVERYTHING)
    assert library.drain().failed == 0
    assert files_with(folder, CANARY) == []


def test_forgotten_twice_is_forgotten_once_and_both_are_audited(library: Forgetful) -> None:
    library.forget(RUN, "run-1")
    library.drain()
    assert library.forget(RUN, "run-1") == Erased(RUN, "run-1", 0, 0)
    library.drain()
    with library.store.begin(TENANT, read_only=True) as tx:
        asked = tx.list_audit(AuditFilter(action="memory.forget"), limit=9)
        done = tx.list_audit(AuditFilter(action="memory.forgotten"), limit=9)
        assert tx.find_forgotten(RUN, "run-1") is not None
    assert [one.subject for one in asked] == ["run-1", "run-1"]
    assert {one.detail["memories"] for one in done} == {0, 2}


def test_what_a_run_drew_from_while_it_was_forgotten_is_not_named_either(
    library: Forgetful,
) -> None:
    library.forget(RUN, "run-1")
    with library.store.begin(TENANT) as tx:
        tx.add_uses([a_use("run-3", library.one), replace(a_use("run-3", library.both), rank=2)])
    library.drain()
    with library.store.begin(TENANT, read_only=True) as tx:
        nameless, still = tx.list_uses(run_id="run-3")
    assert nameless.memory_id.startswith("forgotten-")
    assert still.memory_id == library.both.id


def test_a_pattern_that_does_not_hold_any_more_was_shown_all_the_same(library: Forgetful) -> None:
    with library.store.begin(TENANT) as tx:
        tx.add_uses([a_use("run-2", library.only)])
        drop_memories.drop_memories(tx, [library.only], library.clock.now())
    assert library.drain() == Drained(done=1)
    with library.store.begin(TENANT, read_only=True) as tx:
        assert len(tx.list_uses(memory_id=library.only.id)) == 1


def test_a_misspelt_name_is_not_forgotten(library: Forgetful) -> None:
    with pytest.raises(NotFoundError):
        library.forget(RUN, "run-0")
    with pytest.raises(NotFoundError, match="no project shap"):
        library.forget(PROJECT, "shap")
    with pytest.raises(InputError):
        library.forget(RUN)
    with pytest.raises(InputError):
        library.forget(EVERYTHING, TENANT)
    with pytest.raises(NotFoundError):
        library.forget(RUN, "run-1", tenant_id="umbrella")


def test_a_run_that_is_not_learned_yet_can_be_forgotten(factory: SmallFactory) -> None:
    library = Library(factory.store, factory.clock)
    run = factory.complete(steps("a:"))
    assert forget(factory.store, factory.clock, refold, TENANT, RUN, run.id, "ada").memories == 0
    assert (
        forget(
            factory.store, factory.clock, refold, TENANT, PROJECT, run.project_id, "ada"
        ).memories
        == 0
    )
    assert library.all() == ()


def test_while_the_index_cannot_be_written_the_record_is_gone_and_the_index_follows(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryUnavailableError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(library.index, "forget", fail)
        library.forget(RUN, "run-1")
        assert library.drain() == Drained(failed=3)
    assert library.one.id in library.index.ids()
    library.clock.pass_time(HOLD)
    assert library.drain() == Drained(done=3)
    assert library.one.id not in library.index.ids()


def test_while_another_is_at_the_index_it_is_forgotten_later(library: Forgetful) -> None:
    now = library.clock.now()
    with library.store.begin(TENANT) as tx:
        assert tx.try_lock(NAME, "there:2-1", now, now + HOLD)
    library.forget(RUN, "run-1")
    assert library.drain().failed == 3
    library.clock.pass_time(HOLD)
    assert library.drain().failed == 0
    assert library.one.id not in library.index.ids()


def test_it_is_forgotten_in_the_indexes_of_all_models(library: Forgetful) -> None:
    migrator = Migrator(library.store, library.clock, library.models, HERE)
    _, index = library.add_model("second", "2")
    migrator.begin(TENANT, "second", "ada")
    migrator.build(TENANT, "words/2")
    library.embedders.pop("second")  # and where the model is not installed any more
    library.forget(RUN, "run-1")
    library.drain()
    assert library.one.id not in index.ids()
    assert library.both.id not in index.ids() or all(
        CANARY not in row.memory.text for row in index.rows()
    )


def test_of_what_is_forgotten_no_byte_is_left_in_the_index_or_the_record(
    tmp_path: Path,
) -> None:
    file = tmp_path / "factory.db"
    store: RunStore = open_run_store(f"sqlite:///{file}")
    factory = SmallFactory(tmp_path / "templates", store)
    library = Library(store, factory.clock)
    index = LanceMemoryIndex(tmp_path / "memory", library.embedder)
    library.open_index = lambda _: index
    long = f"{CANARY} " * 2000
    library.learn(
        a_memory(run_id="run-1", title=CANARY, text=long, facts={"error": CANARY}),
        *(a_memory(run_id="run-2", text=f"number {i}") for i in range(5)),
    )
    with store.begin(TENANT) as tx:
        (of_run,) = tx.list_memories(run_id="run-1")
        tx.add_observations([seen(of_run, "run-1")])
        tx.add_uses([a_use("run-2", of_run)])
    library.indexer.catch_up(TENANT)
    folder = tmp_path / "memory"
    assert files_with(folder, CANARY), "or the test shows nothing"
    assert files_with(file.parent, CANARY)

    forgetter = Forgetter(store, factory.clock, library.models, HERE, refold)
    forget(store, factory.clock, refold, TENANT, RUN, "run-1", "ada")
    assert drain_outbox(store, factory.clock, forgetter.handlers, HERE).failed == 0
    library.indexer.catch_up_all()
    for told in (CANARY, of_run.id, of_run.text_digest):
        assert files_with(folder, told) == []
        assert rows_with(file, told) == []
    store.close()
    for told in (CANARY, of_run.id, of_run.text_digest):
        assert files_with(file.parent, told) == []


def files_with(folder: Path, text: str) -> list[str]:
    return [
        str(one.relative_to(folder))
        for one in folder.rglob("*")
        if one.is_file() and text.encode() in one.read_bytes()
    ]


def rows_with(file: Path, text: str) -> list[str]:
    with sqlite3.connect(file) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return [
            name
            for name in tables
            if any(text in str(row) for row in database.execute(f"SELECT * FROM {name}"))  # noqa: S608
        ]


def test_messages_name_a_bounded_number_of_memories(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_memories, "_AT_ONCE", 2)
    library.learn(*(a_memory(run_id="run-3", text="same") for _ in range(5)))
    library.forget(RUN, "run-3")
    left = [
        message
        for message in library.store.due_messages(library.clock.now(), limit=1000)
        if message.topic == topics.MEMORY_FORGET and "ids" in message.payload
    ]
    assert [len(message.payload["ids"]) for message in left] == [2, 2, 1]


def test_an_index_is_written_anew_once_for_all_that_waits(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_memories, "_AT_ONCE", 2)
    written: list[int] = []
    forget_rows = library.index.forget

    def forget_and_tell(tenant_id: str, ids: Sequence[str]) -> None:
        written.append(len(ids))
        forget_rows(tenant_id, ids)

    monkeypatch.setattr(library.index, "forget", forget_and_tell)
    many = [a_memory(run_id=f"run-{number}", text="same") for number in (3, 4) for _ in range(5)]
    library.learn(*many)
    library.indexer.catch_up(TENANT)
    for run_id in ("run-3", "run-4"):
        library.forget(RUN, run_id)
    library.drain()
    assert written == [10]
    assert not {one.id for one in many} & set(library.index.ids())
    assert library.drain().done == 0


def test_what_others_have_too_is_put_back_batch_by_batch(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget_index, "BATCH", 2)
    many = [a_memory(kind=Kind.CODE, run_id="run-3", text=f"{i}") for i in range(5)]
    library.learn(*many)
    with library.store.begin(TENANT) as tx:
        tx.add_observations(seen(one, "run-2", ObservationKind.FOUND) for one in many)
    library.forget(RUN, "run-3")
    library.indexer.catch_up(TENANT)
    before, put_back = library.index.ids(), list[int]()
    upsert = library.index.upsert

    def upsert_and_tell(tenant_id: str, rows: Sequence[Embedded]) -> None:
        put_back.append(len(rows))
        upsert(tenant_id, rows)

    monkeypatch.setattr(library.index, "upsert", upsert_and_tell)
    assert library.drain().failed == 0
    assert put_back == [2, 2, 1]
    assert library.index.ids() == before


# --- page by page


class KilledError(BaseException):
    """The process ends here."""


class Paced:
    """A store that tells what each transaction has taken away, and may end amid.

    Attributes:
        most: transactions that may be begun; with the next one the process is killed.
        taken: rows that each has taken away.
    """

    def __init__(self, store: RunStore, most: int = 1000) -> None:
        self._store = store
        self._most = most
        self.taken: list[int] = []

    @contextmanager
    def begin(self, tenant_id: str, **how: bool) -> Generator[RunTransaction]:
        if len(self.taken) == self._most:
            raise KilledError
        with self._store.begin(tenant_id, **how) as tx:
            before = rows_of(tx)
            yield tx
            self.taken.append(len(before - rows_of(tx)))


def rows_of(tx: RunTransaction) -> set[object]:
    seen = ((one.subject, one.run_id, one.kind) for one in tx.list_observations())
    uses = ((one.run_id, one.step, one.rank) for one in tx.list_uses())
    return {*(one.id for one in tx.list_memories()), *seen, *uses}


def what_stands(library: Forgetful) -> object:
    with library.store.begin(TENANT, read_only=True) as tx:
        seen = [(one.subject, one.run_id) for one in tx.list_observations()]
        uses = len(tx.list_uses())
        assert all(
            one is None or one.is_done
            for one in (tx.find_forgotten(RUN, "run-1"), tx.find_forgotten(PROJECT, "shop"))
        )
    memories = [(one.title, one.text, one.run_id, one.path) for one in library.all()]
    texts = [row.memory.text for row in library.index.rows()]
    return sorted(map(repr, memories)), len(seen), uses, sorted(texts)


@pytest.mark.parametrize(("scope", "key"), [(RUN, "run-1"), (PROJECT, "shop"), (EVERYTHING, "")])
def test_no_transaction_erases_more_than_a_page(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch, scope: ForgetScope, key: str
) -> None:
    monkeypatch.setattr(forget_memory, "_PAGE", 2)
    many = [a_memory(run_id="run-1", project_id="shop", text=f"{i}") for i in range(7)]
    library.learn(*many)
    store = Paced(library.store)
    forget(store, library.clock, refold, TENANT, scope, key, "ada")  # pyright: ignore[reportArgumentType]
    # Of two observations, each pattern may go as well.
    assert max(store.taken) <= 2 + 2
    assert len(store.taken) > 4
    library.drain()
    assert not {one.id for one in many} & {one.id for one in library.all()}


@pytest.mark.parametrize(("scope", "key"), [(RUN, "run-1"), (PROJECT, "shop"), (EVERYTHING, "")])
def test_killed_between_any_two_pages_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: ForgetScope, key: str
) -> None:
    monkeypatch.setattr(forget_memory, "_PAGE", 1)
    monkeypatch.setattr(forget_memory, "_PAUSE_SECONDS", 0)
    whole = Forgetful(SmallFactory(tmp_path))
    store = Paced(whole.store)
    forget(store, whole.clock, refold, TENANT, scope, key, "ada")  # pyright: ignore[reportArgumentType]
    whole.drain()
    for most in (1, 2, 4, 7, len(store.taken) - 1):
        library = Forgetful(SmallFactory(tmp_path))
        killed = Paced(library.store, most)
        with pytest.raises(KilledError):
            forget(killed, library.clock, refold, TENANT, scope, key, "ada")  # pyright: ignore[reportArgumentType]
        library.indexer.catch_up_all()
        if most % 2:
            library.forget(scope, key)
        else:  # the outbox does it by itself
            library.clock.pass_time(timedelta(minutes=1))
        assert library.drain().failed == 0
        assert what_stands(library) == what_stands(whole)


def test_who_asks_is_told_of_all_that_went_though_others_drain_the_outbox_meanwhile(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget_memory, "_PAGE", 2)
    many = [a_memory(run_id="run-1", project_id="shop", text=f"{i}") for i in range(7)]
    library.learn(*many)

    def drain(_: float) -> None:
        library.clock.pass_time(timedelta(seconds=2))
        library.drain()

    # Its sleep alone: threads that another test left behind sleep too.
    monkeypatch.setattr(forget_memory, "time", SimpleNamespace(sleep=drain))
    # Of "shop" there are, beside these, two memories, a piece of code and two patterns.
    assert library.forget(PROJECT, "shop").memories == len(many) + 5
    library.clock.pass_time(HOLD)
    assert library.drain() == Drained()


def test_what_is_being_forgotten_is_not_learned_meanwhile(
    library: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        forget(Paced(library.store, 2), library.clock, refold, TENANT, PROJECT, "shop", "ada")  # pyright: ignore[reportArgumentType]
    library.clock.pass_time(timedelta(hours=1))
    run = a_run(project_id="shop", completed_at=library.clock.now())
    with library.store.begin(TENANT, read_only=True) as tx:
        assert is_forgotten(tx, run)
        with pytest.raises(MemoryUnavailableError, match="being forgotten"):
            refuse_what_is_being_forgotten(tx, "shop")
        refuse_what_is_being_forgotten(tx, "mill")
    library.drain()
    library.clock.pass_time(timedelta(hours=1))
    later = replace(run, completed_at=library.clock.now())
    with library.store.begin(TENANT, read_only=True) as tx:
        assert is_forgotten(tx, run)
        assert not is_forgotten(tx, later)
        refuse_what_is_being_forgotten(tx, "shop")


def test_what_was_forgotten_long_ago_is_not_forgotten_again_by_its_message(
    library: Forgetful,
) -> None:
    library.forget(PROJECT, "shop")
    since = a_memory(run_id="run-9", project_id="shop", text="since")
    library.learn(since)
    library.drain()
    assert since.id in {one.id for one in library.all()}
