"""The index follows the record: once in effect, whatever fails or dies between the two."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError, PermanentError
from factory_runtime.domain.memory import Kind, ModelStatus
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.services import index_memory
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.index_memory import BATCH, CaughtUp
from factory_runtime.services.memory_lock import HOLD, NAME
from tests.builders import TENANT, a_memory
from tests.memories import HERE, Library
from tests.small_factory import SmallFactory


class KilledError(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def library(factory: SmallFactory) -> Library:
    return Library(factory.store, factory.clock)


def kill() -> None:
    raise KilledError


def fail(*_: object) -> None:
    raise MemoryUnavailableError("the disk is on fire")


def test_what_is_recorded_is_indexed_with_a_vector_of_the_settings_model(library: Library) -> None:
    memories = [a_memory(text=f"number {i}") for i in range(3)]
    library.learn(*memories)
    assert library.indexer.catch_up(TENANT) == CaughtUp(3)
    assert library.index.ids() == sorted(memory.id for memory in memories)
    assert library.unindexed() == []
    (model,) = library.models.list(TENANT)
    assert (model.model, model.embedder, model.status) == ("words/1", "first", ModelStatus.ACTIVE)
    assert library.indexer.catch_up(TENANT) == CaughtUp()


def test_no_text_is_embedded_twice(library: Library) -> None:
    one = a_memory(text="the same")
    library.learn(one, a_memory(text="the same"))
    library.indexer.catch_up(TENANT)
    library.learn(replace(one, outcome="failed"), a_memory(text="the same"))
    assert library.indexer.catch_up(TENANT).indexed == 2
    assert library.embedder.texts == ["the same"]
    found = {row.memory.id: row.memory.outcome for row in library.index.rows()}
    assert found[one.id] == "failed"


def test_more_than_a_batch_is_indexed_batch_by_batch(library: Library) -> None:
    commits: list[int] = []
    library.index.after = lambda: commits.append(1)
    library.learn(*(a_memory(text="the same") for _ in range(BATCH + 1)))
    assert library.indexer.catch_up(TENANT).indexed == BATCH + 1
    assert len(commits) == 2


def test_who_has_no_time_does_one_batch_and_leaves_the_rest(library: Library) -> None:
    library.learn(*(a_memory(text="the same") for _ in range(BATCH + 1)))
    library.learn(a_memory(tenant_id="umbrella"), tenant_id="umbrella")
    assert library.indexer.catch_up_all(timedelta(0)) == CaughtUp(BATCH)
    assert library.indexer.catch_up_all(timedelta(0)) == CaughtUp(1)
    assert library.indexer.catch_up_all() == CaughtUp(1)


@pytest.mark.parametrize("gap", ["before the vectors", "after the vectors", "after the upsert"])
def test_killed_in_any_gap_the_next_one_finishes_and_nothing_is_there_twice(
    library: Library, gap: str
) -> None:
    memories = [a_memory(text=f"number {i}") for i in range(3)]
    library.learn(*memories)
    match gap:
        case "before the vectors":
            library.embedder.amid = lambda text: kill()
        case "after the vectors":
            library.index.before = kill
        case _:
            library.index.after = kill
    with pytest.raises(KilledError):
        library.indexer.catch_up(TENANT)
    assert len(library.unindexed()) == 3
    library.embedder.amid = lambda text: None
    library.index.before = library.index.after = lambda: None
    assert library.another_indexer().catch_up(TENANT) == CaughtUp(3)
    assert library.index.ids() == sorted(memory.id for memory in memories)
    assert len(library.embedder.texts) == 3


def test_a_dead_indexer_keeps_nobody_waiting(
    library: Library, factory: SmallFactory, dead: str
) -> None:
    library.learn(a_memory())
    now = factory.clock.now()
    with factory.store.begin(TENANT) as tx:
        assert tx.try_lock(NAME, f"{dead}-1", now, now + HOLD)
    assert library.indexer.catch_up(TENANT) == CaughtUp(1)


def test_who_finds_it_busy_goes_away_and_what_it_recorded_is_indexed(library: Library) -> None:
    busy: list[CaughtUp] = []
    late = a_memory(text="late")

    def another() -> None:
        library.index.after = lambda: None
        library.learn(late)
        busy.append(library.another_indexer("here:2").catch_up(TENANT))

    library.learn(a_memory(text="early"))
    library.index.after = another
    assert library.indexer.catch_up(TENANT) == CaughtUp(2)
    assert busy == [CaughtUp(busy=1)]
    assert late.id in library.index.ids()


def test_what_is_recorded_just_before_the_lock_is_given_back_is_indexed(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = a_memory(text="late")
    indexer = library.indexer

    def another(*_: object) -> None:
        monkeypatch.undo()
        library.learn(late)
        assert library.another_indexer("here:2").catch_up(TENANT).busy == 1

    library.learn(a_memory(text="early"))
    monkeypatch.setattr(indexer, "_tidy", another)
    assert indexer.catch_up(TENANT) == CaughtUp(2)
    assert late.id in library.index.ids()


def test_what_changes_while_it_is_indexed_is_indexed_again(library: Library) -> None:
    memory = a_memory(text="before")

    def change() -> None:
        library.index.after = lambda: None
        library.learn(replace(memory, text="after"))

    library.learn(memory)
    library.index.after = change
    library.indexer.catch_up(TENANT)
    (row,) = library.index.rows()
    assert row.memory.text == "after"
    assert library.vectors(["before"]) == 0
    assert library.unindexed() == []


def test_what_is_deleted_and_learned_anew_while_it_is_indexed_is_indexed_as_it_is_now(
    library: Library,
) -> None:
    memory = a_memory(text="before")

    def forget_and_learn() -> None:
        library.index.after = lambda: None
        with library.store.begin(TENANT) as tx:
            tx.delete_memories([memory.id])
        library.learn(replace(memory, text="after"))

    library.learn(memory)
    library.index.after = forget_and_learn
    library.indexer.catch_up(TENANT)
    (row,) = library.index.rows()
    assert row.memory.text == "after"
    assert library.vectors(["before"]) == 0


def test_one_that_was_stopped_amid_its_commit_does_not_undo_what_another_put_in_since(
    library: Library, factory: SmallFactory
) -> None:
    memory = a_memory(text="before")

    def sleep() -> None:
        library.index.before = lambda: None
        factory.clock.pass_time(2 * HOLD)
        library.learn(replace(memory, text="after"))
        assert library.another_indexer("there:2").catch_up(TENANT) == CaughtUp(1)

    library.learn(memory)
    library.index.before = sleep
    with pytest.raises(MemoryUnavailableError, match="taken"):
        library.indexer.catch_up(TENANT)
    library.indexer.catch_up(TENANT)
    (row,) = library.index.rows()
    assert row.memory.text == "after"
    assert library.vectors(["before"]) == 0


def test_what_is_deleted_while_it_is_indexed_is_in_no_index_and_has_no_vector(
    library: Library,
) -> None:
    memory, other = a_memory(text="secret"), a_memory(text="other")

    def delete(text: str) -> None:
        library.embedder.amid = lambda text: None
        with library.store.begin(TENANT) as tx:
            tx.delete_memories([memory.id])

    library.learn(memory, other)
    library.embedder.amid = delete
    library.indexer.catch_up(TENANT)
    assert library.index.ids() == [other.id]
    assert library.vectors(["secret", "other"]) == 1


@pytest.mark.parametrize("part", ["embedder", "index"])
def test_while_a_part_fails_the_records_stand_and_the_outbox_waits_longer_each_time(
    library: Library, factory: SmallFactory, part: str
) -> None:
    library.learn(a_memory(text="one"))
    library.learn(a_memory(tenant_id="umbrella", text="two"), tenant_id="umbrella")
    tries: list[str] = []

    def failing(*_: object) -> None:
        tries.append(part)
        fail()

    if part == "embedder":
        library.embedder.amid = lambda text: failing() if text == "one" else None
    else:
        library.index.before = lambda: failing() if len(library.embedder.texts) == 1 else None
    found = library.indexer.catch_up_all()
    assert (found.failed, len(library.unindexed()), len(tries)) == (1, 1, 1)
    assert library.index.ids("umbrella") != [], "another tenant goes on"

    assert library.indexer.catch_up_all() == CaughtUp(), "no run pays for it"
    assert len(tries) == 1
    library.embedder.texts.clear()
    library.embedder.texts.append("so that the index fails on")
    for seconds in (2, 2, 4, 8):
        factory.clock.pass_time(timedelta(seconds=seconds))
        assert drain(library, factory) == Drained(failed=1)
    assert len(tries) == 5
    library.embedder.amid, library.index.before = (lambda text: None), (lambda: None)
    factory.clock.pass_time(timedelta(minutes=1))
    assert drain(library, factory) == Drained(done=1)
    assert library.unindexed() == []
    factory.clock.pass_time(timedelta(hours=1))
    assert drain(library, factory) == Drained()


def drain(library: Library, factory: SmallFactory) -> Drained:
    return drain_outbox(factory.store, factory.clock, library.indexer.handlers, HERE)


def test_one_that_was_to_be_tried_again_while_another_is_at_it_is_tried_later(
    library: Library, factory: SmallFactory
) -> None:
    library.learn(a_memory())
    library.embedder.amid = fail
    library.indexer.catch_up_all()
    library.embedder.amid = lambda text: None
    factory.clock.pass_time(timedelta(seconds=2))
    now = factory.clock.now()
    with factory.store.begin(TENANT) as tx:
        assert tx.try_lock(NAME, "there:2-1", now, now + HOLD)
    assert drain(library, factory) == Drained(failed=1)
    factory.clock.pass_time(HOLD)
    assert drain(library, factory) == Drained(done=1)
    assert library.count() == 1


def test_a_text_that_the_model_refuses_hinders_no_other_and_is_found_by_its_title(
    library: Library,
) -> None:
    def refuse(text: str) -> None:
        if "unspeakable" in text:
            raise PermanentError("the content filter says no")

    library.embedder.amid = refuse
    bad = a_memory(title="orders", text="something unspeakable")
    worse = a_memory(title="unspeakable", text="unspeakable", kind=Kind.CODE)
    library.learn(bad, worse, a_memory(text="good"))
    assert library.indexer.catch_up(TENANT) == CaughtUp(3)
    of_title, of_kind = WordsEmbedder().embed(["orders", "code"])
    vectors = {row.memory.id: row.vector for row in library.index.rows()}
    assert vectors[bad.id] == pytest.approx(of_title)
    assert vectors[worse.id] == pytest.approx(of_kind)


def test_one_whose_lock_was_taken_over_stops(library: Library, factory: SmallFactory) -> None:
    def sleep(text: str) -> None:
        library.embedder.amid = lambda text: None
        factory.clock.pass_time(2 * HOLD)
        now = factory.clock.now()
        with factory.store.begin(TENANT) as tx:
            assert tx.try_lock(NAME, "there:2-1", now, now + HOLD)

    library.learn(a_memory())
    library.embedder.amid = sleep
    with pytest.raises(MemoryUnavailableError, match="taken"):
        library.indexer.catch_up(TENANT)
    assert library.index.ids() == []
    with factory.store.begin(TENANT) as tx:
        assert tx.find_lock_holder(NAME, factory.clock.now()) == "there:2-1"


def test_after_many_commits_the_index_is_put_in_order(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_memory, "OPTIMIZE_AFTER", 3)
    for number in range(4):
        library.learn(a_memory(text=f"number {number}"))
        library.indexer.catch_up(TENANT)
    assert library.index.optimized == 1
