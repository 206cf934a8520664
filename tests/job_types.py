"""The five job types, and what an attempt lends them, on the in-memory host and storage."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.domain.approval import Approval, Question, Vote
from factory_runtime.domain.artifact import Artifact, ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import (
    CancelledError,
    LeaseLostError,
)
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.tree import TreeFile, TreeReference
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.jobs.documentation import Documentation
from factory_runtime.jobs.infrastructure import Infrastructure
from factory_runtime.jobs.pipeline_generation import PipelineGeneration
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import Credentials, GitHost, JobFacts, JobType

TYPES: list[JobType] = [
    RepoGeneration(),
    TemplateLayer(),
    Infrastructure(),
    PipelineGeneration(),
    Documentation(),
]
LAYERS = TYPES[1:]
DIGEST = "ab" * 32
TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Tree:
    """A rendered tree that needs no storage."""

    content: tuple[TreeFile, ...]
    reference: TreeReference = field(init=False)

    def __post_init__(self) -> None:
        self.reference = TreeReference(DIGEST, 10240, len(self.content))

    def files(self) -> Iterator[TreeFile]:
        yield from self.content


@dataclass
class World:
    """What outlives one attempt: the host, the storage and the ledger."""

    host: InMemoryGitHost = field(default_factory=InMemoryGitHost)
    storage: InMemoryArtifactStorage = field(default_factory=InMemoryArtifactStorage)
    confirmed: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    intended: list[Effect] = field(default_factory=list[Effect])

    def record(self, step: str, result: JobResult) -> None:
        for effect in result.effects:
            self.confirmed[step, effect.kind] = effect.reference


@dataclass
class Context:
    """A job context over a world, as the engine lends one to an attempt."""

    world: World
    facts: JobFacts
    lines: list[str] = field(default_factory=list[str])
    checks_until_cancelled: int = 1000
    lease_checks_until_lost: int = 1000
    other_host: GitHost | None = None
    knows: tuple[Recalled, ...] = ()
    recalled: list[tuple[str, Collection[Kind] | None, int]] = field(
        default_factory=list[tuple[str, "Collection[Kind] | None", int]]
    )

    @property
    def host(self) -> GitHost:
        return self.other_host or self.world.host

    @property
    def storage(self) -> InMemoryArtifactStorage:
        return self.world.storage

    def now(self) -> datetime:
        return datetime(2026, 5, 4, tzinfo=UTC)

    def intend(
        self, kind: str, target: str, facts: Mapping[str, Any] = MappingProxyType({})
    ) -> str | None:
        mine = self.facts
        effect = Effect(
            mine.effect_key,
            kind,
            mine.tenant_id,
            mine.run_id,
            mine.step,
            target,
            self.now(),
            facts=dict(facts),
        )
        self.world.intended.append(effect)
        return self.world.confirmed.get((mine.step, kind))

    def check_lease(self) -> None:
        self.lease_checks_until_lost -= 1
        if self.lease_checks_until_lost < 0:
            raise LeaseLostError("another worker holds it")

    def checkpoint(self) -> Mapping[str, Any] | None:
        raise NotImplementedError("none of these types goes on from a checkpoint")

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError(state)

    def progress(self, share: float, phrase: str) -> None:
        self.lines.append(f"{share:.0%} {phrase}")

    def safe_point(self) -> None:
        self.check_cancelled()

    def start_child(self, arguments: Sequence[str], **_: Any) -> subprocess.Popen[bytes]:
        raise NotImplementedError(arguments)

    def ask(self, question: Question) -> Approval:
        raise NotImplementedError(question)

    def list_votes(self, approval: Approval) -> tuple[Vote, ...]:
        raise NotImplementedError(approval)

    def credentials(self) -> Credentials:
        raise NotImplementedError

    def list_effects(self) -> tuple[Effect, ...]:
        return tuple(self.world.intended)

    def find_last_copy(self, kind: ArtifactKind, name: str) -> Artifact | None:
        raise NotImplementedError((kind, name))

    def recall(
        self, query: str, kinds: Collection[Kind] | None = None, k: int = 5
    ) -> tuple[Recalled, ...]:
        self.recalled.append((query, kinds, k))
        return self.knows[:k]

    def log(self, message: str) -> None:
        self.lines.append(message)

    def check_cancelled(self) -> None:
        self.checks_until_cancelled -= 1
        if self.checks_until_cancelled < 0:
            raise CancelledError("asked to stop")


def a_context(
    world: World, step: str = "generate-repo", follows: tuple[str, ...] = (), run: str = "run-1"
) -> Context:
    facts = JobFacts(
        tenant_id="acme",
        project_id="shop",
        run_id=run,
        step=step,
        attempt=1,
        effect_key=f"{run}:{step}",
        template_id="microservice",
        template_version="1.2.0",
        requested_by="ann",
        follows=frozenset(follows),
        trace_id=TRACE,
    )
    return Context(world, facts)


def a_with(job_type: JobType, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"repository": "orders", "source": "files/base", **more}
    if isinstance(job_type, PipelineGeneration):
        del given["source"]
        given["flavours"] = ["github-actions"]
    return given


def publish(job_type: JobType, context: Context, given: Mapping[str, Any], tree: Tree) -> JobResult:
    result = job_type.publish(context, given, tree)
    assert isinstance(result, JobResult)
    return result


def files(**contents: str) -> Tree:
    return Tree(tuple(TreeFile(path, text.encode()) for path, text in contents.items()))


def with_repository(world: World | None = None) -> World:
    world = world or World()
    given = a_with(TYPES[0])
    TYPES[0].publish(a_context(world), given, files(README="hello"))
    return world


def messages(world: World) -> list[str]:
    return [commit.message for commit in world.host.commits("acme", "shop", "orders")]


def of_kind(result: JobResult, kind: ArtifactKind) -> list[ArtifactDraft]:
    return [draft for draft in result.artifacts if draft.kind is kind]


class UnreadableTree(Tree):
    def files(self) -> Iterator[TreeFile]:
        raise AssertionError("it was read")
