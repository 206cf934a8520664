"""What the store keeps of what was learned, on every store."""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from factory_runtime.domain.errors import ConflictError, InputError
from factory_runtime.domain.memory import (
    ContextPackage,
    ForgetScope,
    Forgotten,
    Kind,
    Memory,
    MemoryModel,
    MemoryUse,
    MemoryVector,
    ModelStatus,
    Observation,
    ObservationKind,
    Reuse,
)
from factory_runtime.domain.tally import ASKED, Tally
from factory_runtime.ports import Line, RunStore, RunTransaction
from factory_runtime.run_store import SqlRunStore
from tests.builders import TENANT, a_memory, after

MODEL = "minilm/1"


def kept(tx: RunTransaction, memory: Memory) -> Memory:
    """As it stands in the store."""
    (found,) = tx.find_memories([memory.id])
    return found


def a_vector(memory: Memory, *numbers: float, model: str = MODEL) -> MemoryVector:
    return MemoryVector(TENANT, model, memory.text_digest, numbers or (1.0, 0.0))


def seen(subject: str = "mem-pattern", **changes: Any) -> Observation:
    one = Observation(
        TENANT, subject, ObservationKind.FAILED, "run-1", "build", 0, "", after(0), "shop"
    )
    return replace(one, **changes)


# --- what was learned


def test_a_memory_comes_back_as_it_was_kept(run_store: RunStore) -> None:
    memory = a_memory(
        kind=Kind.CODE,
        project_id="shop",
        module_id="m",
        run_id="run-1",
        step="s",
        artifact_id="art-1",
        commit="c0ffee",
        path="src/a.py",
        first_line=3,
        last_line=9,
        trace_id="t",
        correlation_id="c",
        template_id="microservice",
        template_version="1.2.0",
        outcome="Succeeded",
        superseded_by="mem-2",
        facts={"files": 12},
    )
    with run_store.begin(TENANT) as tx:
        assert tx.save_memories([memory]) == 1
        assert kept(tx, memory) == replace(memory, changed_at=memory.created_at)


def test_what_is_learned_again_alike_changes_nothing(run_store: RunStore) -> None:
    memory = a_memory()
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        tx.mark_indexed([kept(tx, memory)], after(1))
    with run_store.begin(TENANT) as tx:
        assert tx.save_memories([replace(memory, created_at=after(9))]) == 0
        again = kept(tx, memory)
        assert (again.revision, again.indexed_at) == (1, after(1))
        assert again.created_at == memory.created_at


def test_what_is_learned_otherwise_is_the_next_revision_and_to_be_indexed(
    run_store: RunStore,
) -> None:
    memory = a_memory(outcome="failed")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        tx.mark_indexed([kept(tx, memory)], after(1))
        other = replace(memory, outcome=None, text="better", changed_at=after(2))
        assert tx.save_memories([other]) == 1
        again = kept(tx, memory)
    assert (again.text, again.outcome, again.revision) == ("better", None, 2)
    assert (again.created_at, again.changed_at) == (memory.created_at, after(2))
    assert again.indexed_at is None


def test_of_one_memory_saved_twice_at_once_the_last_stands(run_store: RunStore) -> None:
    memory = a_memory()
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory, replace(memory, title="last")])
        tx.save_memories([])
        assert kept(tx, memory).title == "last"


def test_what_a_database_cannot_hold_is_taken_out_before_it_is_embedded(
    run_store: RunStore,
) -> None:
    memory = a_memory(text="a\x00b\ud800c")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        stands = kept(tx, memory)
        tx.save_vectors([a_vector(stands)])
        assert tx.count_vectors(MODEL) == 1
        assert tx.memories_without_vector(MODEL, 9) == ()


def test_memories_are_listed_by_id_in_parts(run_store: RunStore) -> None:
    # Code points, not an alphabet: the order must be the same on every database.
    ids = ["B", "Z", "_", "a", "a-1", "aB", "ab", "é"]
    with run_store.begin(TENANT) as tx:
        tx.save_memories(a_memory(id=identity) for identity in reversed(ids))
        assert [m.id for m in tx.list_memories()] == ids
        assert [m.id for m in tx.list_memories(after_id="a", limit=2)] == ["a-1", "aB"]
        with pytest.raises(InputError):
            tx.list_memories(limit=0)


def test_memories_are_listed_by_what_they_tell_of(run_store: RunStore) -> None:
    of_run = a_memory(run_id="run-1", project_id="shop")
    of_template = a_memory(kind=Kind.TEMPLATE, template_id="microservice")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([of_run, of_template])
        listed = [
            tx.list_memories(kind=Kind.TEMPLATE),
            tx.list_memories(run_id="run-1"),
            tx.list_memories(project_id="shop"),
            tx.list_memories(template_id="microservice"),
        ]
        ids = [[memory.id for memory in found] for found in listed]
        assert ids == [[of_template.id], [of_run.id], [of_run.id], [of_template.id]]
        assert tx.count_memories() == {Kind.RUN: 1, Kind.TEMPLATE: 1}


def test_more_memories_than_fit_one_question_are_found(run_store: RunStore) -> None:
    ids = [f"mem-{number:04}" for number in range(1100)]
    with run_store.begin(TENANT) as tx:
        assert tx.save_memories(a_memory(id=identity) for identity in ids) == 1100
        assert [memory.id for memory in tx.find_memories(ids)] == ids


def test_prose_stays_beside_a_text_until_that_is_another(run_store: RunStore) -> None:
    memory = a_memory()
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        read = kept(tx, memory)
        assert tx.memories_without_prose([Kind.RUN], after(1), 9) == (read,)
        tx.mark_indexed([read], after(1))
        tx.save_prose(read, "Well told.")
        tx.save_prose(read, "Too late.")
        assert kept(tx, memory) == replace(read, prose="Well told.", indexed_at=after(1))
        assert tx.memories_without_prose([Kind.RUN], after(1), 9) == ()
        assert tx.save_memories([memory]) == 0
        tx.save_memories([replace(memory, outcome="failed")])
        assert kept(tx, memory).prose == "Well told."
        tx.save_memories([replace(memory, text="another")])
        assert kept(tx, memory).prose is None


def test_a_text_that_was_asked_about_in_vain_is_left_alone_until_its_time(
    run_store: RunStore,
) -> None:
    memory, other = a_memory(text="one"), a_memory(text="other")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory, other])
        tx.save_tally(Tally(TENANT, memory.text_digest, 1, after(5)))
        tx.save_tally(Tally(TENANT, memory.text_digest, 2, after(10)))
        tx.save_tally(Tally(TENANT, ASKED, 2, after(99)))
        assert [one.text for one in tx.memories_without_prose([Kind.RUN], after(9), 9)] == ["other"]
        assert len(tx.memories_without_prose([Kind.RUN], after(10), 9)) == 2
        tx.save_prose(kept(tx, memory), "Well told.")
        assert tx.find_tally(memory.text_digest) is None
        assert tx.find_tally(ASKED) == Tally(TENANT, ASKED, 2, after(99))


def test_the_tally_of_a_text_goes_with_the_text(run_store: RunStore) -> None:
    one, other = a_memory(text="the same"), a_memory(text="the same")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([one, other])
        tx.save_tally(Tally(TENANT, one.text_digest, 1, after(99)))
        tx.delete_memories([one.id])
        assert tx.find_tally(one.text_digest) is not None
        tx.save_memories([replace(other, text="another")])
        assert tx.find_tally(one.text_digest) is None


# --- what the index has


def test_a_memory_that_changed_since_it_was_read_is_not_marked_as_indexed(
    run_store: RunStore,
) -> None:
    first, second = a_memory(id="mem-1"), a_memory(id="mem-2", changed_at=after(-1))
    with run_store.begin(TENANT) as tx:
        tx.save_memories([first, second])
        waiting = tx.unindexed_memories(9)
        assert [memory.id for memory in waiting] == ["mem-2", "mem-1"]
        tx.save_memories([replace(first, title="other")])
        tx.mark_indexed(waiting, after(1))
        assert [memory.id for memory in tx.unindexed_memories(9)] == ["mem-1"]


def test_an_index_that_was_lost_gets_everything_again(run_store: RunStore) -> None:
    memories = [a_memory(id="mem-1"), a_memory(id="mem-2")]
    with run_store.begin(TENANT) as tx:
        tx.save_memories(memories)
        tx.mark_indexed(tx.find_memories(["mem-1", "mem-2"]), after(1))
    assert run_store.unindexed_tenants() == ()
    with run_store.begin(TENANT) as tx:
        tx.mark_all_unindexed(after(60))
        assert tx.unindexed_line() == Line(2, after(60)), "what is old waits since then"
        tx.save_memories([replace(a_memory(id="mem-1"), text="later", changed_at=after(90))])
        tx.mark_indexed(tx.find_memories(["mem-2"]), after(91))
        assert tx.unindexed_line() == Line(1, after(90))
    assert run_store.unindexed_line() == Line(1, after(90))
    assert run_store.unindexed_tenants() == (TENANT,)


# --- vectors


def test_a_vector_is_kept_under_its_text_and_model_as_float32(run_store: RunStore) -> None:
    memory, third = a_memory(), 1 / 3
    with run_store.begin(TENANT) as tx:
        tx.save_vectors([a_vector(memory, 0.5, -1.25, third)])
        tx.save_vectors([a_vector(memory, 9.0)])  # it stays as it is
        tx.save_vectors([a_vector(memory, 1.0, model="other/1")])
        found = tx.find_vectors(MODEL, [memory.text_digest, "0" * 64])
    rounded = struct.unpack("<3f", struct.pack("<3f", 0.5, -1.25, third))
    assert found == {memory.text_digest: rounded}


def test_memories_of_one_text_share_a_vector_until_the_last_is_gone(run_store: RunStore) -> None:
    one, other = a_memory(id="mem-1"), a_memory(id="mem-2")
    assert one.text_digest == other.text_digest
    with run_store.begin(TENANT) as tx:
        tx.save_memories([one, other])
        assert [memory.id for memory in tx.memories_without_vector(MODEL, 9)] == ["mem-1", "mem-2"]
        tx.save_vectors([a_vector(one)])
        assert tx.count_vectors(MODEL) == 2
        tx.delete_memories(["mem-1"])
        assert tx.find_vectors(MODEL, [one.text_digest])
        tx.delete_memories(["mem-2", "unknown"])
        assert not tx.find_vectors(MODEL, [one.text_digest])


def test_a_text_that_is_no_more_leaves_no_vector(run_store: RunStore) -> None:
    memory = a_memory()
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        tx.save_vectors([a_vector(memory)])
        tx.save_memories([replace(memory, text="another")])
        assert not tx.find_vectors(MODEL, [memory.text_digest])


def test_a_vector_whose_text_no_memory_has_is_told_of(run_store: RunStore) -> None:
    memory, gone = a_memory(), a_memory(text="gone")
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        tx.save_vectors([a_vector(memory), a_vector(gone), a_vector(gone, model="other/1")])
        assert tx.unused_vectors(9) == (gone.text_digest,)
        tx.drop_unused_vectors([memory.text_digest, gone.text_digest])
        assert tx.unused_vectors(9) == ()
        assert tx.count_vectors(MODEL) == 1


def test_vectors_of_one_model_are_dropped_alone(run_store: RunStore) -> None:
    memory = a_memory()
    with run_store.begin(TENANT) as tx:
        tx.save_memories([memory])
        tx.save_vectors([a_vector(memory), a_vector(memory, model="other/1")])
        tx.drop_vectors("other/1")
        assert (tx.count_vectors(MODEL), tx.count_vectors("other/1")) == (1, 0)


# --- models


def test_a_tenant_has_one_active_model(run_store: RunStore) -> None:
    one = MemoryModel(TENANT, "a/1", "minilm", 384, ModelStatus.ACTIVE, after(0))
    other = MemoryModel(TENANT, "b/1", "light", 256, ModelStatus.BUILDING, after(1))
    with run_store.begin(TENANT) as tx:
        tx.save_model(one)
        tx.save_model(other)
        assert tx.list_models() == (one, other)
    with pytest.raises(ConflictError), run_store.begin(TENANT) as tx:
        tx.save_model(replace(other, status=ModelStatus.ACTIVE))
    with run_store.begin(TENANT) as tx:
        tx.drop_model("b/1")
        assert tx.list_models() == (one,)


# --- what was seen


def test_what_was_seen_is_kept_once_and_listed_by_age(run_store: RunStore) -> None:
    first, later = seen(worked=False, facts={"n": 1}), seen(cycle=1, at=after(1), worked=True)
    with run_store.begin(TENANT) as tx:
        tx.add_observations([later, first])
        tx.add_observations([replace(first, facts={"n": 2})])
        assert tx.list_observations(subject="mem-pattern") == (first, later)
        assert tx.list_observations(subject="mem-pattern", limit=1) == (later,)
        assert tx.list_observations(project_id="shop", kind=ObservationKind.TRIED) == ()
        assert tx.list_observations(projects=("other", "shop"), limit=1) == (later,)
        assert tx.list_observations(projects=("other",)) == ()
        assert tx.list_observations(projects=()) == ()


def test_forgetting_a_run_tells_which_subjects_it_was_seen_of(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.add_observations([seen("b"), seen("a"), seen("a", run_id="run-2", project_id="mill")])
        assert tx.delete_observations(run_id="run-1") == ("a", "b")
        assert [one.run_id for one in tx.list_observations()] == ["run-2"]
        assert tx.delete_observations(subject="a", kind=ObservationKind.TRIED) == ()
        assert tx.delete_observations(subject="b") == ()
        assert tx.delete_observations(project_id="mill") == ("a",)
        assert tx.delete_observations() == ()


def test_observations_are_forgotten_so_many_at_once_by_their_subjects(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.add_observations([seen(one, cycle=cycle) for one in "cab" for cycle in (0, 1)])
        tx.add_observations([seen("a", run_id="run-2")])
        assert tx.delete_observations(run_id="run-1", limit=3) == ("a", "b")
        left = [(one.subject, one.run_id) for one in tx.list_observations()]
        assert sorted(left) == [("a", "run-2"), ("b", "run-1"), ("c", "run-1"), ("c", "run-1")]
        assert tx.delete_observations(run_id="run-1", limit=3) == ("b", "c")
        assert tx.delete_observations(run_id="run-1", limit=3) == ()
        assert tx.delete_observations(limit=3) == ("a",)


@contextmanager
def plans_of(store: SqlRunStore) -> Generator[list[str]]:
    """How SQLite goes about each question that is asked meanwhile."""
    plans = list[str]()

    def explain(_: object, cursor: Any, statement: str, values: Any, *__: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            plans.append(str(cursor.execute("EXPLAIN QUERY PLAN " + statement, values).fetchall()))

    event.listen(store.engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(store.engine, "before_cursor_execute", explain)


@pytest.mark.parametrize("of", ["run_id", "project_id"])
def test_to_forget_a_page_no_more_is_read_than_the_page(sqlite_store: SqlRunStore, of: str) -> None:
    run_id, project_id = ("one", None) if of == "run_id" else (None, "one")
    with sqlite_store.begin(TENANT) as tx, plans_of(sqlite_store) as plans:
        tx.list_memories(run_id=run_id, project_id=project_id, limit=9)
        tx.delete_observations(run_id=run_id, project_id=project_id, limit=9)
        tx.delete_uses(run_id=run_id, project_id=project_id, limit=9)
    assert len(plans) == 3
    assert all(f"(tenant_id=? AND {of}=?)" in plan for plan in plans)
    assert all("ORDER BY" not in plan for plan in plans), "nothing is read to be sorted"


def test_of_memories_that_are_named_no_others_are_read(sqlite_store: SqlRunStore) -> None:
    # Of fewer SQLite would guess right whatever else is asked.
    known = [a_memory(id=f"m-{number:02}") for number in range(20)]
    ids = [memory.id for memory in known]
    with sqlite_store.begin(TENANT) as tx:
        tx.save_memories(known)
    with sqlite_store.begin(TENANT) as tx, plans_of(sqlite_store) as plans:
        tx.find_memories(ids)
        tx.save_memories([replace(one, title="anew") for one in known])
        tx.mark_indexed(known, after(1))
        tx.delete_memories(ids)
    of_memories = [plan for plan in plans if "memory_records" in plan]
    assert len(of_memories) >= 5
    assert all("(tenant_id=? AND id=?)" in plan or "text_digest=?" in plan for plan in of_memories)


def test_of_all_memories_the_first_are_read_without_sorting(sqlite_store: SqlRunStore) -> None:
    with sqlite_store.begin(TENANT) as tx, plans_of(sqlite_store) as plans:
        tx.list_memories(limit=1)
        tx.list_memories(limit=1, after_id="m")
    assert len(plans) == 2
    assert all("ORDER BY" not in plan for plan in plans)


# --- what came of it


def test_a_use_is_noted_once_and_marked_when_it_was_made(run_store: RunStore) -> None:
    shown = MemoryUse(TENANT, "run-1", "docs", "mem-1", "shop", 1, 0.9, after(0))
    also = replace(shown, memory_id="mem-2", rank=2)
    with run_store.begin(TENANT) as tx:
        tx.add_uses([shown, also])
        tx.add_uses([replace(shown, rank=7)])
        tx.mark_used("run-1", ["mem-1"], after(1))
        tx.mark_used("run-1", ["mem-1"], after(2))
        used = replace(shown, used_at=after(1))
        assert tx.list_uses(run_id="run-1") == (used, also)
        assert tx.list_uses(memory_id="mem-2") == (also,)
        tx.unname_uses(["mem-1", "mem-3"])
        nameless, still = tx.list_uses(run_id="run-1")
        assert (replace(nameless, memory_id="mem-1"), still) == (used, also)
        assert nameless.memory_id.startswith("forgotten-")
        assert tx.count_reuse() == Reuse(shown=1, used=1, succeeded=0)
        assert tx.delete_uses(run_id="run-1", limit=1) == 1
        assert tx.list_uses() in ((nameless,), (also,))
        assert tx.delete_uses(run_id="run-1") == 1
        assert tx.list_uses() == ()


# --- forgetting, context packages


def test_what_is_to_be_forgotten_is_written_over(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        for minute in (0, 5):
            tx.add_forgotten(Forgotten(TENANT, ForgetScope.TENANT, "", after(minute)))
        found = tx.find_forgotten(ForgetScope.TENANT, "")
        assert found == Forgotten(TENANT, ForgetScope.TENANT, "", after(5))
        assert tx.find_forgotten(ForgetScope.RUN, "run-1") is None


def test_a_package_is_found_until_it_expires(run_store: RunStore) -> None:
    package = ContextPackage(
        TENANT,
        "ctx-1",
        "d" * 64,
        ("mem-1", "mem-2"),
        (0.9, 0.1),
        2000,
        after(0),
        after(60),
        newest_at=after(-1),
        lag_seconds=1.5,
        projects=("shop",),
    )
    newer = replace(package, id="ctx-2", created_at=after(1), projects=None)
    with run_store.begin(TENANT) as tx:
        tx.add_package(package)
        assert tx.find_package("ctx-1") == package
        tx.add_package(newer)
        assert tx.find_package_of("d" * 64, after(2)) == newer
        assert tx.find_package_of("d" * 64, after(60)) is None
    assert run_store.tenants_of_old_packages(after(59)) == ()
    assert run_store.tenants_of_old_packages(after(60)) == (TENANT,)
    with run_store.begin(TENANT) as tx:
        assert tx.drop_packages(after(60)) == 2
        assert tx.find_package("ctx-1") is None
