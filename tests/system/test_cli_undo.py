"""Undo, and the inventory of what runs left outside: what people ask for and what they read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.person import person
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.end_run import end_run
from factory_runtime.services.topics import UNDO_RUN
from tests.cli_home import T0, Factory, accept_run, begin_run, fail_run, get_run

STEP = "generate-repo"


def with_repository(runtime: Runtime, run: Run, status: EffectStatus) -> str:
    """Have the run's first job made a repository; its effect key."""
    key = f"{run.id}:{STEP}"
    made = runtime.host.ensure_repository(
        "local", run.project_id, "orders", effect_key=key, description=""
    )
    effect = Effect(
        key, "repository", "local", run.id, STEP, "repository default/orders", T0,
        facts={"project_id": run.project_id, "repository": "orders"},
    )  # fmt: skip
    with runtime.store.begin("local") as tx:
        tx.intend_effect(effect)
        tx.confirm_effect(key, "repository", made.id, T0, link=made.url)
        if status is EffectStatus.ORPHANED:
            tx.settle_effect(key, "repository", status, T0, reason="Ann\nworks in it")
    return key


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    """A run that failed after it had made a repository."""
    run = fail_run(runtime)
    with_repository(runtime, run, EffectStatus.CONFIRMED)
    return run


@pytest.fixture
def orphan(runtime: Runtime) -> Run:
    run = fail_run(runtime)
    with_repository(runtime, run, EffectStatus.ORPHANED)
    return run


def undoing(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin("local", read_only=True) as tx:
        found = tx.find_undoing_run(run.id)
    assert found is not None
    return found


def listed(factory: Factory, *words: str) -> list[dict[str, Any]]:
    return factory("effects", "list", *words, "--json").json["effects"]


# --- asking for an undo


def test_an_undo_is_a_run_that_both_pages_tell_of(factory: Factory, failed: Run) -> None:
    said = factory("runs", "undo", failed.id)
    other = undoing(factory.runtime, failed)
    assert (said.code, said.out) == (0, f"{failed.id}  is undone by {other.id}  Validated\n")
    assert other.requested_by == person()
    assert f"undone by  {other.id}, Validated" in factory("runs", "show", failed.id).out
    assert f"undoes     {failed.id}" in factory("runs", "show", other.id).out
    assert f"undo of {failed.id}" in factory("runs", "list").out
    shown = factory("runs", "show", failed.id, "--json").json
    assert shown["undone_by"] == other.id


def test_asking_twice_gives_the_undo_that_stands(factory: Factory, failed: Run) -> None:
    first = factory("runs", "undo", failed.id, "--json").json
    again = factory("runs", "undo", failed.id, "--json").json
    assert first["runs"][0]["undone_by"]["id"] == again["runs"][0]["undone_by"]["id"]


def test_what_cannot_be_undone_is_told_beside_what_can(factory: Factory, failed: Run) -> None:
    opened = accept_run(factory.runtime, "billing")
    said = factory("runs", "undo", failed.id, opened.id)
    assert said.code == 4
    assert f"{failed.id}  is undone by" in said.out
    assert said.err == f"run {opened.id} is Validated and cannot become undone\n"
    assert factory("runs", "undo", "run-0").code == 3


def test_a_cancelled_run_is_undone_where_that_is_asked(factory: Factory) -> None:
    runtime = factory.runtime
    run = accept_run(runtime)
    begin_run(runtime, run)
    with_repository(runtime, run, EffectStatus.CONFIRMED)
    assert factory("runs", "cancel", run.id, "--undo").code == 0
    assert get_run(runtime, run).undo_requested_by == person()
    assert "a run of its own soon, for" in factory("runs", "show", run.id).out
    end_run(runtime.store, runtime.clock, "local", run.id, RunStatus.CANCELLED, "cancelled")
    drain_outbox(runtime.store, runtime.clock, {UNDO_RUN: runtime.undoer.begin}, "tests")
    assert undoing(runtime, run).requested_by == person()


# --- the inventory


def test_an_effect_is_listed_with_its_owner_and_its_link(factory: Factory, orphan: Run) -> None:
    out = factory("effects", "list", "--orphaned").out
    for word in ("repository", "orphaned", "default/orders", "ada", orphan.id, "Ann works in it"):
        assert word in out
    (row,) = listed(factory, "--orphaned")
    assert (row["owner"], row["reason"]) == ("ada", "Ann\nworks in it")
    assert row["link"].endswith("orders.git")


def test_effects_are_chosen_by_run_and_status(factory: Factory, failed: Run) -> None:
    other = accept_run(factory.runtime, "billing", project="shop")
    with_repository(factory.runtime, other, EffectStatus.ORPHANED)
    assert [row["run_id"] for row in listed(factory)] == [failed.id, other.id]
    assert [row["run_id"] for row in listed(factory, "--run", failed.id)] == [failed.id]
    assert [row["run_id"] for row in listed(factory, "--status", "orphaned")] == [other.id]
    assert listed(factory, "--tenant", "globex") == []
    assert factory("effects", "list", "--run", "run-0").code == 3
    assert factory("effects", "list", "--orphaned", "--status", "undone").code == 2


def test_effects_are_listed_in_parts(factory: Factory, failed: Run) -> None:
    other = accept_run(factory.runtime, "billing", project="shop")
    with_repository(factory.runtime, other, EffectStatus.CONFIRMED)
    first = factory("effects", "list", "--limit", "1", "--json").json
    assert [row["run_id"] for row in first["effects"]] == [failed.id]
    rest = factory("effects", "list", "--cursor", first["cursor"], "--json").json
    assert ([row["run_id"] for row in rest["effects"]], rest["cursor"]) == ([other.id], None)
    for cursor in ("nonsense", f"{failed.id}:x:y", ":::"):
        assert factory("effects", "list", "--cursor", cursor).code == 2


def test_an_orphan_that_somebody_removed_is_found_gone(factory: Factory, orphan: Run) -> None:
    key = f"{orphan.id}:{STEP}"
    assert [row["effect_key"] for row in listed(factory, "--check")] == [key]
    factory.runtime.host.remove_repository(
        "local", orphan.project_id, "orders", effect_key=key, runs=frozenset({orphan.id})
    )
    said = factory("effects", "list", "--orphaned", "--check")
    assert f"1 gone by now: {key}:repository" in said.out
    (row,) = listed(factory)
    assert (row["status"], row["reason"]) == ("undone", "gone: somebody has removed it")


def test_a_person_settles_what_is_somebodys_by_now(factory: Factory, orphan: Run) -> None:
    words = ("effects", "settle", orphan.id, STEP, "--reason", "given to\nteam b")
    assert factory(*words, "--json").json["settled"] == 1
    (row,) = listed(factory)
    assert (row["status"], row["reason"]) == ("undone", f"given to team b ({person()})")
    again = factory(*words)
    assert again.code == 4
    assert "left no orphan" in again.err
    assert factory("effects", "settle", orphan.id, "no-such", "--reason", "x").code == 3
    assert factory("effects", "settle", orphan.id, STEP, "--reason", "  ").code == 2


def test_documents_stay_whole_where_there_is_nothing(factory: Factory) -> None:
    said = factory("effects", "list", "--json")
    assert json.loads(said.out) == {"effects": [], "gone": [], "cursor": None}
    assert factory("effects", "list").out == "no effects like that\n"
