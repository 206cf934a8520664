"""What `factory doctor` says of the memory: quickly, and with `--memory` from the index itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_OF_CODE, MEMORY_OF_RUN
from tests.builders import NOON, a_memory
from tests.cli_home import Factory


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder that begins at once."""
    monkeypatch.setenv("FACTORY_EMBEDDER", "light")


@pytest.fixture
def memory(factory: Factory) -> Path:
    """The folder of the index; the record has two memories and says that one is indexed."""
    with factory.runtime.store.begin("local") as tx:
        tx.save_memories([a_memory(id=id_, tenant_id="local") for id_ in ("mem-1", "mem-2")])
        tx.mark_indexed(tx.find_memories(["mem-1"]), NOON)
    folder = factory.runtime.settings.memory_folder
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "file").write_bytes(b"\0")
    return folder


def looks(factory: Factory, *options: str) -> dict[str, Any]:
    told = factory("doctor", "--json", *options)
    assert told.code == 0, "a broken memory fails no run"
    return {check["name"]: check for check in told.json["checks"]}


def test_the_index_is_opened_only_for_who_asks(
    factory: Factory, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)  # importing it raises now
    found = looks(factory)
    assert (found["memory"]["state"], "memory index" in found) == ("ok", False)
    assert found["memory"]["found"] == "2 memories, 1 not indexed yet; --memory opens the index"
    assert looks(factory, "--memory")["memory index"]["state"] == "warn"


def test_a_folder_that_cannot_be_used_is_told(factory: Factory, memory: Path) -> None:
    shutil.rmtree(memory)
    memory.write_text("in the way")
    found = looks(factory)["memory"]
    assert (found["state"], found["fix"]) == ("warn", "look at the folder")
    assert str(memory) in found["found"]


def test_an_index_that_is_gone_is_told(factory: Factory, memory: Path) -> None:
    shutil.rmtree(memory)
    found = looks(factory)["memory"]
    assert (found["state"], "memory rebuild" in found["fix"]) == ("warn", True)


def test_too_little_room_is_told(
    factory: Factory, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_MEMORY_DISK_MIB", "1")
    assert looks(factory)["memory"]["state"] == "ok"
    (memory / "local" / "file").write_bytes(b"\0" * (1024**2 + 1))
    found = looks(factory)["memory"]
    assert (found["state"], "should take 1" in found["found"]) == ("warn", True)
    monkeypatch.delenv("FACTORY_MEMORY_DISK_MIB")
    monkeypatch.setattr("cli.memory_checks.LOW_SPACE", 2**60)
    found = looks(factory)["memory"]
    assert (found["state"], found["fix"]) == ("warn", "free some space")


def test_an_embedder_that_cannot_be_used_is_told(
    factory: Factory, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_EMBEDDER", "openai:text-embedding-3-small")
    found = looks(factory)["memory"]
    assert (found["state"], "FACTORY_" in found["fix"]) == ("warn", True), found


def test_an_index_that_searches_cannot_use_is_told(factory: Factory) -> None:
    known = [a_memory(id=id_, tenant_id="local") for id_ in ("mem-1", "mem-2")]
    with factory.runtime.store.begin("local") as tx:
        tx.save_memories(known)
    factory.runtime.indexer.catch_up_all()
    found = looks(factory, "--memory")["memory index"]
    assert (found["state"], found["found"]) == ("ok", "searched, with 2 memories in it")

    factory.runtime.models.of("local").index.forget("local", ["mem-2"])
    found = looks(factory, "--memory")["memory index"]
    assert (found["state"], found["found"]) == ("warn", "has 1 of 2 memories that were put in")
    assert "memory rebuild" in found["fix"]

    (table,) = factory.runtime.settings.memory_folder.glob("local/*.lance")
    (table / "_indices").rename(table / "elsewhere")
    found = looks(factory, "--memory")["memory index"]
    assert (found["state"], "memory rebuild" in found["fix"]) == ("warn", True), found
    shutil.rmtree(table)
    found = looks(factory, "--memory")["memory index"]
    assert (found["state"], "is gone" in found["found"]) == ("warn", True)


def test_what_a_sweep_learns_in_the_background_is_no_fault(factory: Factory) -> None:
    store = factory.runtime.store
    with store.begin("local") as tx:
        leave(tx, MEMORY_OF_CODE, "run-1", {}, NOON)
    found = looks(factory)["outbox"]
    assert (found["state"], found["found"]) == (
        "ok",
        "empty, but for 1 of code that `factory sweep` learns",
    )
    with store.begin("local") as tx:
        leave(tx, MEMORY_OF_RUN, "run-1", {}, NOON)
    found = looks(factory)["outbox"]
    assert (found["state"], found["found"]) == ("warn", "1 message due")
