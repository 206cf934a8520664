"""The code of a run's trees becomes memories, once a project, in the background."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.memory import ForgetScope, Forgotten, Kind, Memory
from factory_runtime.domain.piece import Piece
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.tree import pack_folder
from factory_runtime.memory.cutting.cutter import FileCutter
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.learn_code import CodeLearner, found_elsewhere
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_OF_CODE, MEMORY_OF_TREE
from tests.builders import TENANT, a_run, after, an_artifact
from tests.small_factory import SettableClock

RETRY = '''"""Delays between tries."""


def delays(first, most):
    """Twice as long each time."""
    delay = first
    while delay < most:
        yield delay
        delay = 2 * delay
'''
CANARY = "ghp_" + "A1b2C3d4E5f6G7h8I9j0"


class Ticking:
    """A clock that goes on with each look at it."""

    def __init__(self, clock: SettableClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        self._clock.pass_time(timedelta(milliseconds=1))
        return self._clock.now()


class Place:
    """A store with runs whose trees lie in storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SettableClock()
        self.store = InMemoryRunStore()
        self.storage = InMemoryArtifactStorage()
        self.learner = CodeLearner(self.store, self.storage, self.clock, FileCutter)

    def run(self, id_: str, files: Mapping[str, str], **changes: object) -> Run:
        """One that has published these files."""
        folder = self.folder / id_
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        packed = io.BytesIO()
        pack_folder(folder, packed)
        stored = self.storage.put(TENANT, packed.getvalue())
        run = a_run(id=id_, status=RunStatus.SUCCEEDED, completed_at=after(1))
        run = replace(run, **changes)
        tree = an_artifact(
            run,
            id=f"tree-of-{id_}",
            kind=ArtifactKind.TREE,
            name="tree.tar",
            uri=stored.uri,
            sha256=stored.digest,
            size=stored.size,
        )
        commit = an_artifact(
            run,
            id=f"commit-of-{id_}",
            kind=ArtifactKind.COMMIT,
            name=f"{id_}@c0ffee",
            metadata={"sha": "c0ffee", "repository": id_},
        )
        self.ended(run, tree, commit)
        return run

    def ended(self, run: Run, *artifacts: Artifact) -> None:
        with self.store.begin(TENANT) as tx:
            tx.add_run(run)
            tx.add_artifacts(artifacts)
            leave(tx, MEMORY_OF_CODE, run.id, {"run_id": run.id}, self.clock.now())

    def drain(self) -> Drained:
        return drain_outbox(self.store, Ticking(self.clock), self.learner.handlers, "here:1")

    def pieces(self) -> dict[str, Memory]:
        with self.store.begin(TENANT, read_only=True) as tx:
            return {memory.title: memory for memory in tx.list_memories(kind=Kind.CODE)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_function_is_kept_with_where_it_was_found(place: Place) -> None:
    run = place.run("orders", {"src/retry.py": RETRY})
    assert place.drain() == Drained(done=2)
    memory = place.pieces()["src/retry.py: delays"]
    assert (memory.run_id, memory.artifact_id) == (run.id, "tree-of-orders")
    assert (memory.commit, memory.facts["repository"]) == ("c0ffee", "orders")
    assert (memory.path, memory.first_line, memory.last_line) == ("src/retry.py", 4, 9)
    assert (memory.template_id, memory.template_version) == (run.template_id, run.template_version)
    assert (memory.project_id, memory.trace_id) == (run.project_id, run.trace_id)
    assert (memory.outcome, memory.facts["language"]) == ("succeeded", "python")
    assert "delay = 2 * delay" in memory.text


def test_what_another_run_of_the_project_has_too_is_kept_once(place: Place) -> None:
    place.run("orders", {"src/retry.py": RETRY})
    place.drain()
    before = place.pieces()
    place.run("billing", {"src/retry.py": RETRY})
    place.drain()
    assert place.pieces() == before
    with place.store.begin(TENANT, read_only=True) as tx:
        (memory,) = (one for title, one in before.items() if title.endswith("delays"))
        assert {one.run_id for one in tx.list_observations(subject=memory.id)} == {
            "orders",
            "billing",
        }


def test_another_project_has_its_own(place: Place) -> None:
    place.run("orders", {"src/retry.py": RETRY})
    place.run("mill", {"src/retry.py": RETRY}, project_id="mill")
    place.drain()
    with place.store.begin(TENANT, read_only=True) as tx:
        kept = [one for one in tx.list_memories(kind=Kind.CODE) if one.title.endswith("delays")]
    assert {one.project_id for one in kept} == {"shop", "mill"}


def test_code_of_a_newer_version_is_told_of_that(place: Place) -> None:
    place.run("orders", {"src/retry.py": RETRY})
    place.drain()
    place.run("later", {"src/retry.py": RETRY}, template_version="2.0.0")
    place.drain()
    memory = place.pieces()["src/retry.py: delays"]
    assert (memory.template_version, memory.run_id) == ("2.0.0", "later")


def test_secrets_in_code_are_not_kept(place: Place) -> None:
    place.run("orders", {f"src/{CANARY}.py": RETRY.replace("first, most", f"a='{CANARY}'")})
    place.drain()
    with place.store.begin(TENANT, read_only=True) as tx:
        told = repr([tx.list_memories(), tx.list_observations()])
    assert "delay" in told
    assert CANARY not in told


@pytest.mark.parametrize("scope", ForgetScope)
def test_what_is_to_be_forgotten_is_not_learned(place: Place, scope: ForgetScope) -> None:
    run = place.run("orders", {"src/retry.py": RETRY})
    key = {"run": run.id, "project": run.project_id, "tenant": ""}[scope.value]
    with place.store.begin(TENANT) as tx:
        tx.add_forgotten(Forgotten(TENANT, scope, key, after(2)))
    assert place.drain() == Drained(done=2)
    assert place.pieces() == {}


def test_a_run_that_goes_round_again_and_a_tree_that_is_gone_teach_nothing(place: Place) -> None:
    place.run("again", {"a.py": RETRY}, status=RunStatus.QUEUED)
    place.run("gone", {"b.py": RETRY})
    with place.store.begin(TENANT, read_only=True) as tx:
        tree = tx.get_artifact("tree-of-gone")
    place.storage.delete(TENANT, str(tree.sha256))
    assert place.drain() == Drained(done=4)
    assert place.pieces() == {}


def test_killed_between_two_batches_it_is_the_same_when_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"m{number}.py": RETRY.replace("delays", f"delays_{number}") for number in range(9)}
    place.run("orders", files)
    monkeypatch.setattr("factory_runtime.services.learn_code._AT_ONCE", 4)

    class Killed(FileCutter):
        def cut(self, path: str, content: bytes) -> tuple[Piece, ...]:
            if path == "m7.py":
                raise KeyboardInterrupt
            return super().cut(path, content)

    place.learner = replace(place.learner, cutter=Killed)
    with pytest.raises(KeyboardInterrupt):
        place.drain()
    some = place.pieces()
    assert some
    place.learner = replace(place.learner, cutter=FileCutter)
    place.clock.at = after(3600)
    place.drain()
    whole = place.pieces()
    assert sum("delays_" in title for title in whole) == 9
    assert {title: whole[title] for title in some} == some
    assert not [m for m in place.store.due_messages(after(7200), 99) if m.topic == MEMORY_OF_TREE]


def test_a_piece_is_told_of_another_run_where_its_own_is_forgotten(place: Place) -> None:
    place.run("orders", {"src/retry.py": RETRY})
    place.run("billing", {"src/again.py": f"# ours\n{RETRY}"})
    place.drain()
    with place.store.begin(TENANT, read_only=True) as tx:
        (memory,) = (one for one in tx.list_memories(run_id="orders") if "delays" in one.title)
        found = tx.list_observations(subject=memory.id)
    (other,) = (one for one in found if one.run_id == "billing")
    moved = found_elsewhere(memory, other)
    assert moved.id == memory.id
    assert moved.title == "src/again.py: delays"
    assert moved.text == memory.text.replace("src/retry.py", "src/again.py")
    assert "src/retry.py" in memory.text
    assert (moved.run_id, moved.path, moved.first_line) == ("billing", "src/again.py", 5)
    assert (moved.artifact_id, moved.facts["repository"]) == ("tree-of-billing", "billing")
