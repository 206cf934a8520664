"""Learn the code that a run has generated, piece by piece: in the background, a tree at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import ArtifactNotFoundError, TransientError
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory import Kind, Memory, Observation, ObservationKind
from factory_runtime.domain.piece import Piece
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.redaction import redact_text
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.tree import TreeReference
from factory_runtime.ports import ArtifactStorage, Clock, Cutter, RunStore, RunTransaction
from factory_runtime.services.forgotten import is_forgotten
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.outbox import leave
from factory_runtime.services.stored_tree import StoredTree
from factory_runtime.services.topics import MEMORY_OF_CODE, MEMORY_OF_TREE

_AT_ONCE = 200
"""Pieces of one transaction: between two of them others get their turn."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Found:
    """A piece, where it was found."""

    run: Run
    tree: Artifact
    commit: str | None
    repository: str
    piece: Piece


@dataclass(frozen=True)
class CodeLearner:
    """Handlers of the outbox, for a drain that nobody waits for: a tree may be a large one.

    Each piece is kept once a project, under an id made of its text; that another run has it too is
    an ``Observation``. Done again, or killed on the way and done again, it is the same.

    Attributes:
        cutter: opens what cuts files.
        stopping: whether this process is to end: a tree is then left to another one.
    """

    store: RunStore
    storage: ArtifactStorage
    clock: Clock
    cutter: Callable[[], Cutter]
    stopping: Callable[[], bool] = lambda: False

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        """The topics of the outbox that are its own."""
        return {MEMORY_OF_CODE: self.find_trees, MEMORY_OF_TREE: self.learn_tree}

    def find_trees(self, message: OutboxMessage) -> None:
        """Leave a message for each tree that a run has published."""
        run_id = str(message.payload["run_id"])
        with self.store.begin(message.tenant_id) as tx:
            for tree in _trees_of(tx, run_id):
                payload = {"run_id": run_id, "artifact_id": tree.id}
                # Due since the run ended: the drain that handles this takes them as well.
                leave(tx, MEMORY_OF_TREE, tree.id, payload, message.created_at)

    def learn_tree(self, message: OutboxMessage) -> None:
        """Keep the pieces of one tree.

        One whose body is gone teaches nothing, nor does that of a run that is to be forgotten, or
        has not Succeeded.
        """
        tenant_id, run_id = message.tenant_id, str(message.payload["run_id"])
        with self.store.begin(tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
            tree = tx.get_artifact(str(message.payload["artifact_id"]))
            if run.status is not RunStatus.SUCCEEDED or is_forgotten(tx, run):
                return
            commit = _commit_of(tx, tree)
        found = self._pieces(run, tree, commit)
        while some := list(islice(found, _AT_ONCE)):
            with self.store.begin(tenant_id) as tx:
                take_turn(tx, now := self.clock.now())
                if is_forgotten(tx, run):
                    return
                _keep(tx, some, now)

    def _pieces(self, run: Run, tree: Artifact, commit: Artifact | None) -> Iterator[_Found]:
        cutter = self.cutter()
        told: Mapping[str, Any] = {} if commit is None else commit.metadata
        sha, repository = told.get("sha"), redact_text(str(told.get("repository") or ""))
        reference = TreeReference(str(tree.sha256), tree.size or 0, 0)
        try:
            for file in StoredTree(self.storage, run.tenant_id, reference).files():
                if self.stopping():
                    raise TransientError("this process is to end")
                if file.link is None:
                    for piece in cutter.cut(file.path, file.content):
                        yield _Found(run, tree, sha, repository, piece)
        except ArtifactNotFoundError:
            return


def code_memory_id(tenant_id: str, project_id: str, piece: Piece) -> str:
    """The id of a piece of code: the same wherever the project has it."""
    what = ["code", tenant_id, project_id, piece.language, piece.name, piece.text]
    return f"mem-{digest_of(what)[:32]}"


def _keep(tx: RunTransaction, found: list[_Found], now: datetime) -> None:
    memories = {memory.id: memory for memory in (_memory(one, now) for one in found)}
    kept = {memory.id: memory for memory in tx.find_memories(memories)}
    news = [
        memory
        for memory in memories.values()
        # Where it was first found stays what is told, until another version of a template has it:
        # or every run of one would write all of its code anew.
        if memory.id not in kept or _template_of(kept[memory.id]) != _template_of(memory)
    ]
    tx.save_memories(news)
    tx.add_observations([_observation(one, now) for one in found])


def _template_of(memory: Memory) -> tuple[str | None, str | None]:
    return memory.template_id, memory.template_version


def _memory(found: _Found, now: datetime) -> Memory:
    run, piece = found.run, found.piece
    where = _where(piece.path, piece.name)
    return Memory(
        id=code_memory_id(run.tenant_id, run.project_id, piece),
        tenant_id=run.tenant_id,
        kind=Kind.CODE,
        title=redact_text(where),
        text=redact_text(f"{where}\n{piece.text}"),
        created_at=now,
        changed_at=now,
        project_id=run.project_id,
        module_id=run.module_id,
        run_id=run.id,
        step=found.tree.step,
        artifact_id=found.tree.id,
        commit=found.commit,
        path=redact_text(piece.path),
        first_line=piece.first_line,
        last_line=piece.last_line,
        trace_id=run.trace_id,
        correlation_id=run.correlation_id,
        template_id=run.template_id,
        template_version=run.template_version,
        outcome=run.status.value.lower(),
        classification=found.tree.classification.value,
        facts={
            "repository": found.repository,
            "language": piece.language,
            "piece": piece.kind.value,
            "name": redact_text(piece.name),
        },
    )


def _where(path: str, name: str) -> str:
    return f"{path}: {name}" if name else path


def _observation(found: _Found, now: datetime) -> Observation:
    """That this run has it too, and what of the memory would be told of this place instead."""
    memory = _memory(found, now)
    return Observation(
        tenant_id=memory.tenant_id,
        subject=memory.id,
        kind=ObservationKind.FOUND,
        run_id=found.run.id,
        step=found.tree.step,
        cycle=0,
        place=digest_of([found.piece.path, found.piece.first_line]),
        at=now,
        project_id=memory.project_id,
        worked=True,
        facts={name: getattr(memory, name) for name in _SOURCE} | {"repository": found.repository},
    )


_SOURCE = (
    "module_id",
    "run_id",
    "step",
    "artifact_id",
    "commit",
    "path",
    "first_line",
    "last_line",
    "trace_id",
    "correlation_id",
    "template_id",
    "template_version",
)


def found_elsewhere(memory: Memory, seen: Observation) -> Memory:
    """A piece of code as it is told of where another run has it: the one it was of is forgotten."""
    source = {name: seen.facts.get(name) for name in _SOURCE}
    facts = {**memory.facts, "repository": seen.facts.get("repository")}
    title = redact_text(_where(str(source["path"]), str(facts.get("name", ""))))
    text = title + memory.text.removeprefix(memory.title)
    return replace(memory, title=title, text=text, facts=facts, **source)


def _trees_of(tx: RunTransaction, run_id: str) -> Iterator[Artifact]:
    after: Artifact | None = None
    while page := tx.list_artifacts(
        run_id=run_id, kind=ArtifactKind.TREE, limit=_PAGE, after=after
    ):
        yield from (tree for tree in page if tree.has_body)
        after = page[-1]


def _commit_of(tx: RunTransaction, tree: Artifact) -> Artifact | None:
    """The commit that the step made of the tree."""
    commits = tx.list_artifacts(run_id=tree.run_id, kind=ArtifactKind.COMMIT, limit=_PAGE)
    return next((commit for commit in commits if commit.step == tree.step), None)
