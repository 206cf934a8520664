"""Another embedding model: built beside, switched to when it is complete, gone back from, dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import pytest
from sqlalchemy import update

from factory_runtime.domain.audit import AuditFilter
from factory_runtime.domain.errors import (
    ConflictError,
    MemoryUnavailableError,
    NotFoundError,
    SettingsError,
)
from factory_runtime.domain.memory import Memory, ModelStatus
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.engines import for_writing
from factory_runtime.run_store.tables import memory_records
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.memory_lock import HOLD, NAME
from factory_runtime.services.memory_models import active_of
from factory_runtime.services.migrate_memory import Migrator
from tests.builders import TENANT, a_memory
from tests.memories import HERE, Library
from tests.small_factory import SmallFactory

ADA = "ada"
OLD, NEW = "words/1", "words/2"


class Moving(Library):
    """Three memories of the first model, and a second one that could be built."""

    def __init__(self, factory: SmallFactory) -> None:
        super().__init__(factory.store, factory.clock)
        self.migrator = Migrator(factory.store, factory.clock, self.models, HERE)
        self.new, self.new_index = self.add_model("second", "2")
        self.learn(*(a_memory(text=f"number {i}") for i in range(3)))
        self.indexer.catch_up(TENANT)

    def statuses(self) -> dict[str, ModelStatus]:
        return {one.model: one.status for one in self.models.list(TENANT)}

    def active(self) -> str:
        self.models.forget_read(TENANT)
        return self.models.of(TENANT).name

    def complete(self) -> None:
        self.migrator.begin(TENANT, "second", ADA)
        assert self.migrator.build(TENANT, NEW)


@pytest.fixture
def moving(factory: SmallFactory) -> Moving:
    return Moving(factory)


def test_one_is_built_switched_to_gone_back_from_and_dropped(
    moving: Moving, factory: SmallFactory
) -> None:
    begun = moving.migrator.begin(TENANT, "second", ADA)
    assert (begun.model, begun.status) == (NEW, ModelStatus.BUILDING)
    assert moving.migrator.begin(TENANT, "second", ADA) == begun, "once more it is the same"
    assert moving.active() == OLD
    told: list[tuple[str, int, int]] = []

    def tell(model: str, done: int, total: int) -> None:
        told.append((model, done, total))

    assert moving.migrator.build(TENANT, NEW, tell)
    assert told == [(NEW, 3, 3)]
    assert moving.new_index.ids() == moving.index.ids()

    moving.migrator.switch(TENANT, NEW, ADA)
    assert moving.statuses() == {OLD: ModelStatus.KEPT, NEW: ModelStatus.ACTIVE}
    assert moving.active() == NEW
    moving.migrator.roll_back(TENANT, ADA)
    assert moving.statuses() == {OLD: ModelStatus.ACTIVE, NEW: ModelStatus.KEPT}

    with pytest.raises(ConflictError, match="searches use"):
        moving.migrator.drop(TENANT, OLD, ADA)
    moving.migrator.drop(TENANT, NEW, ADA)
    assert moving.statuses() == {OLD: ModelStatus.ACTIVE}
    handlers = moving.migrator.handlers
    assert drain_outbox(factory.store, factory.clock, handlers, HERE) == Drained(done=1)
    assert moving.new_index.tenants() == ()
    assert moving.vectors(["number 0"], moving.new) == 0
    assert len(moving.index.ids()) == 3
    with pytest.raises(NotFoundError):
        moving.migrator.roll_back(TENANT, ADA)


def test_one_that_lacks_vectors_cannot_be_switched_to(moving: Moving) -> None:
    moving.migrator.begin(TENANT, "second", ADA)
    with pytest.raises(ConflictError, match="3 memories have no vector"):
        moving.migrator.switch(TENANT, NEW, ADA)
    with pytest.raises(NotFoundError, match="no model 'words/3'"):
        moving.migrator.switch(TENANT, "words/3", ADA)
    assert moving.statuses()[OLD] is ModelStatus.ACTIVE


def test_new_memories_get_vectors_of_all_living_models(moving: Moving) -> None:
    moving.complete()
    late = a_memory(text="late")
    moving.learn(late)
    # It is in no index yet, so it lacks nothing.
    moving.migrator.switch(TENANT, NEW, ADA)
    moving.indexer.catch_up(TENANT)
    assert late.id in moving.new_index.ids()
    assert late.id in moving.index.ids(), "so that one can go back"
    moving.migrator.roll_back(TENANT, ADA)


def test_a_model_that_searches_do_not_use_hinders_no_indexing(
    moving: Moving, factory: SmallFactory
) -> None:
    def fail(text: str) -> NoReturn:
        moving.new.amid = lambda text: pytest.fail("it was to be left alone")
        raise MemoryUnavailableError("no quota is left")

    moving.complete()
    moving.new.amid = fail
    for number in range(2):
        moving.learn(a_memory(text=f"late {number}"))
        assert moving.indexer.catch_up(TENANT).indexed == 1
    assert (len(moving.index.ids()), len(moving.new_index.ids())) == (5, 3)
    with pytest.raises(ConflictError, match="2 memories"):
        moving.migrator.switch(TENANT, NEW, ADA)
    moving.new.amid = lambda text: None
    assert moving.migrator.build_a_while() == 1
    moving.migrator.switch(TENANT, NEW, ADA)
    factory.clock.pass_time(timedelta(minutes=2))
    moving.learn(a_memory(text="later"))
    moving.indexer.catch_up(TENANT)
    assert moving.new_index.ids() == moving.index.ids()


def test_one_whose_lock_was_taken_over_while_it_built_puts_nothing_in(
    moving: Moving, factory: SmallFactory
) -> None:
    def sleep(text: str) -> None:
        factory.clock.pass_time(2 * HOLD)
        with factory.store.begin(TENANT) as tx:
            tx.try_lock(NAME, "there:2-1", factory.clock.now(), factory.clock.now() + HOLD)

    moving.new.amid = sleep
    moving.migrator.begin(TENANT, "second", ADA)
    with pytest.raises(MemoryUnavailableError, match="taken"):
        moving.migrator.build(TENANT, NEW)
    assert moving.new_index.ids() == []


def test_a_kept_model_that_cannot_embed_has_what_needs_no_embedding(moving: Moving) -> None:
    def fail(text: str) -> NoReturn:
        raise MemoryUnavailableError("no quota is left")

    moving.complete()
    moving.new.amid = fail
    one, two, _ = moving.all()
    moving.learn(replace(one, outcome="failed"), a_memory(text="late"))
    moving.indexer.catch_up(TENANT)
    del moving.embedders["second"]
    moving.learn(replace(two, outcome="cancelled"))
    moving.indexer.catch_up(TENANT)
    outcomes = {row.memory.id: row.memory.outcome for row in moving.new_index.rows()}
    assert (outcomes[one.id], outcomes[two.id]) == ("failed", "cancelled")


def test_an_index_that_lacks_rows_is_made_anew_before_it_is_switched_to(moving: Moving) -> None:
    def fail() -> NoReturn:
        raise MemoryUnavailableError("the disk is full")

    moving.complete()
    moving.new_index.before = fail
    moving.learn(a_memory(text="late"))
    moving.indexer.catch_up(TENANT)
    assert moving.vectors(["late"], moving.new) == 1
    assert len(moving.new_index.ids()) == 3
    moving.new_index.before = lambda: None
    moving.migrator.switch(TENANT, NEW, ADA)
    assert moving.new_index.ids() == moving.index.ids()


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("step", ["embedding", "index", "switch"])
def test_killed_at_any_step_it_goes_on(
    moving: Moving, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> NoReturn:
        raise KilledError

    moving.migrator.begin(TENANT, "second", ADA)
    if step == "embedding":
        moving.new.amid = kill
    elif step == "index":
        moving.new_index.after = kill
    else:
        moving.migrator.build(TENANT, NEW)
        monkeypatch.setattr(moving.migrator, "_audit", kill)
        with pytest.raises(KilledError):
            moving.migrator.switch(TENANT, NEW, ADA)
        monkeypatch.undo()
    if step != "switch":
        with pytest.raises(KilledError):
            moving.migrator.build(TENANT, NEW)
        moving.new.amid = lambda text: None
        moving.new_index.after = lambda: None
    assert moving.active() == OLD
    assert moving.migrator.build(TENANT, NEW)
    moving.migrator.switch(TENANT, NEW, ADA)
    assert moving.active() == NEW
    assert [row.vector for row in moving.new_index.rows()] == [
        row.vector for row in moving.index.rows()
    ]


def test_of_two_switches_at_once_one_model_is_active(
    moving: Moving, factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving.add_model("third", "3")
    moving.complete()
    moving.migrator.begin(TENANT, "third", ADA)
    moving.migrator.build(TENANT, "words/3")
    other = Migrator(factory.store, factory.clock, moving.models, "here:2")
    inner: Callable[[str, str, str], object] = other._switch  # pyright: ignore[reportPrivateUsage]

    def both(tenant_id: str, model: str, by: str) -> object:
        monkeypatch.undo()
        inner(tenant_id, "words/3", by)
        return inner(tenant_id, model, by)

    # As if the lock had been lost between looking and switching.
    monkeypatch.setattr(moving.migrator, "_switch", both)
    moving.migrator.switch(TENANT, NEW, ADA)
    active = [one for one, at in moving.statuses().items() if at is ModelStatus.ACTIVE]
    assert active == [NEW]


def test_killed_while_it_is_dropped_its_index_goes_and_it_can_be_begun_anew(
    moving: Moving, factory: SmallFactory
) -> None:
    moving.complete()
    moving.migrator.drop(TENANT, NEW, ADA)
    moving.complete()
    assert drain_outbox(factory.store, factory.clock, moving.migrator.handlers, HERE).done == 1
    assert moving.new_index.ids() == moving.index.ids(), "it lives again"


def test_where_the_embedder_is_gone_searches_say_so_and_records_are_still_learned(
    moving: Moving, factory: SmallFactory
) -> None:
    def gone(name: str) -> NoReturn:
        raise SettingsError(f"{name} lacks a key", hint="set FACTORY_EMBEDDING_KEY")

    moving.models._open_embedder = gone  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(MemoryUnavailableError, match="lacks a key") as told:
        moving.active()
    assert told.value.hint == "set FACTORY_EMBEDDING_KEY"
    moving.learn(a_memory(text="late"))
    assert moving.indexer.catch_up_all().failed == 1
    assert len(moving.all()) == 4


def test_where_the_embedder_makes_other_vectors_by_now_searches_say_what_to_do(
    moving: Moving,
) -> None:
    moving.embedders["first"] = moving.new
    with pytest.raises(MemoryUnavailableError, match="is words/2 here") as told:
        moving.active()
    assert "memory model build first" in (told.value.hint or "")
    # And that can be done.
    moving.migrator.begin(TENANT, "first", ADA)
    moving.migrator.build(TENANT, NEW)
    moving.migrator.switch(TENANT, NEW, ADA)
    assert moving.active() == NEW


def test_a_tenant_without_models_has_the_settings_one(moving: Moving) -> None:
    assert moving.models.of("umbrella").name == OLD
    assert moving.models.list("umbrella") == ()
    assert active_of(moving.models.ensure("umbrella")) is not None
    moving.migrator.begin("umbrella", "second", ADA)
    assert moving.migrator.switch("umbrella", NEW, ADA).status is ModelStatus.ACTIVE


def test_every_change_of_a_model_is_audited(moving: Moving, factory: SmallFactory) -> None:
    moving.complete()
    moving.migrator.switch(TENANT, NEW, ADA)
    moving.migrator.drop(TENANT, OLD, ADA)
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_audit(AuditFilter(actor=ADA), limit=10)
    assert [(one.action, one.subject) for one in reversed(found)] == [
        ("memory.model-begin", NEW),
        ("memory.model-switch", NEW),
        ("memory.model-drop", OLD),
    ]


def test_what_the_release_before_has_rewritten_gets_its_vector_and_the_build_ends(
    moving: Moving,
) -> None:
    first, *_ = moving.all()
    rewrite(moving.store, first, "rewritten")
    moving.migrator.begin(TENANT, "second", ADA)
    assert moving.migrator.build(TENANT, NEW, most=3)
    assert moving.vectors(["rewritten"], moving.new) == 1
    assert moving.unindexed() == [first.id]
    moving.indexer.catch_up(TENANT)
    assert moving.vectors([first.text]) == 0
    assert "rewritten" in {row.memory.text for row in moving.index.rows()}


def test_a_text_that_changes_while_it_is_embedded_leaves_no_vector(moving: Moving) -> None:
    first, *_ = moving.all()

    def change(text: str) -> None:
        if text == first.text:
            moving.learn(replace(first, text="changed"))

    moving.new.amid = change
    moving.complete()
    assert moving.vectors([first.text], moving.new) == 0
    assert moving.vectors(["changed"], moving.new) == 1


def rewrite(store: RunStore, memory: Memory, text: str) -> None:
    """As the release before does, which knows of no digest."""
    assert isinstance(store, SqlRunStore)
    with store.engine.connect() as connection, for_writing(connection).begin():
        of = (memory_records.c.id == memory.id,)
        connection.execute(update(memory_records).where(*of).values(text=text))
