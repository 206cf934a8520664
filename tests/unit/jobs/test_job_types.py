"""The five job types on the in-memory host and storage, and their effects on the local host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    HostBusyError,
    InputError,
    LayerConflictError,
    LeaseLostError,
    PermanentError,
)
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, Layer, RenderOrder
from factory_runtime.domain.tree import TreeFile, TreeReference
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.jobs.documentation import Documentation
from factory_runtime.jobs.infrastructure import Infrastructure
from factory_runtime.jobs.pipeline_generation import PipelineGeneration
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import GitHost, JobFacts, JobType

TYPES: list[JobType] = [
    RepoGeneration(),
    TemplateLayer(),
    Infrastructure(),
    PipelineGeneration(),
    Documentation(),
]
LAYERS = TYPES[1:]
DIGEST = "ab" * 32


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


def with_repository() -> World:
    world = World()
    given = a_with(TYPES[0])
    TYPES[0].publish(a_context(world), given, files(README="hello"))
    return world


def messages(world: World) -> list[str]:
    return [commit.message for commit in world.host.commits("acme", "shop", "orders")]


def of_kind(result: JobResult, kind: ArtifactKind) -> list[ArtifactDraft]:
    return [draft for draft in result.artifacts if draft.kind is kind]


# --- what they take


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_its_own_example_is_what_it_takes(job_type: JobType) -> None:
    given = a_with(job_type, data={"name": "orders"})
    assert check_with(job_type.facts, given) == ()
    assert job_type.facts.topic == f"factory.jobs.{job_type.facts.name}"


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
@pytest.mark.parametrize(
    "wrong",
    [{"repositry": "x"}, {"repository": "../x"}, {"repository": 7}, {"data": "text"}],
    ids=str,
)
def test_what_it_does_not_know_is_refused(job_type: JobType, wrong: Mapping[str, Any]) -> None:
    (problem,) = check_with(job_type.facts, {**a_with(job_type), **wrong})
    assert next(iter(wrong)) in problem


def test_every_problem_of_a_with_is_named() -> None:
    problems = check_with(PipelineGeneration.facts, {"flavours": ["jenkins", 3], "extra": 1})
    assert len(problems) == 5
    assert any(problem.startswith("flavours[0]: 'jenkins' is not one of") for problem in problems)


def test_only_what_is_offered_can_be_undone() -> None:
    undos = {job_type.facts.name: job_type.facts.undos for job_type in TYPES}
    assert undos.pop("repo-generation") == ("delete-repository",)
    assert set(undos.values()) == {()}


def test_none_of_them_begins_while_the_git_host_is_down() -> None:
    assert {job_type.facts.hosts for job_type in TYPES} == {("git",)}


# --- render


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_rendering_never_depends_on_where_the_result_goes(job_type: JobType) -> None:
    data = {"name": "x"}
    one = job_type.render(a_with(job_type, data=data))
    other = job_type.render({**a_with(job_type, data=data), "repository": "elsewhere"})
    assert one is not None
    assert one == other
    assert one.layers[0].data == data


def test_a_source_is_rendered_as_the_template_names_it() -> None:
    assert TYPES[1].render({"repository": "x", "source": "files/a"}) == RenderOrder(
        (Layer("files/a", {}),)
    )


def test_pipelines_are_rendered_from_sources_that_the_type_brings_along() -> None:
    flavours = ["github-actions", "azure-pipelines"]
    order = PipelineGeneration().render({"repository": "x", "flavours": flavours})
    assert order is not None
    assert [layer.source for layer in order.layers] == [
        f"pipeline-generation:{flavour}" for flavour in flavours
    ]
    for folder in PipelineGeneration.facts.sources.values():
        assert (folder / "copier.yml").is_file()
    assert set(PipelineGeneration.facts.sources) == set(flavours)


# --- publish


def test_repo_generation_makes_the_repository_and_its_first_commit() -> None:
    world = World()
    result = RepoGeneration().publish(a_context(world), a_with(TYPES[0]), files(README="hello"))
    (commit,) = world.host.commits("acme", "shop", "orders")
    assert result.outputs == {
        "repository": "orders",
        "url": "memory://acme/shop/orders.git",
        "default_branch": "main",
        "commit": commit.sha,
    }
    assert [(effect.kind, effect.reference) for effect in result.effects] == [
        ("repository", "acme/shop/orders"),
        ("commit", commit.sha),
    ]
    assert [(effect.kind, effect.target) for effect in world.intended] == [
        ("repository", "repository shop/orders"),
        ("commit", "commit in shop/orders"),
    ]
    assert result.external_ids == {"repo_id": "acme/shop/orders"}
    (repository,) = of_kind(result, ArtifactKind.REPOSITORY)
    assert (repository.name, repository.uri) == ("orders", result.outputs["url"])
    (tree,) = of_kind(result, ArtifactKind.TREE)
    assert (tree.uri, tree.sha256, tree.size) == (f"artifact:sha256:{DIGEST}", DIGEST, 10240)
    assert len(of_kind(result, ArtifactKind.COMMIT)) == 1


@pytest.mark.parametrize("job_type", LAYERS, ids=lambda t: t.facts.name)
def test_a_layer_is_one_commit_with_its_trailers(job_type: JobType) -> None:
    world = with_repository()
    context = a_context(world, "some-step", follows=("generate-repo",))
    result = publish(job_type, context, a_with(job_type), files(one="1", two="2"))
    commit = world.host.commits("acme", "shop", "orders")[-1]
    assert result.outputs == {
        "repository": "orders",
        "commit": commit.sha,
        "url": f"memory://acme/shop/orders.git#{commit.sha}",
        "files": 2,
    }
    assert commit.trailers == (
        ("Factory-Run", "run-1"),
        ("Factory-Step", "some-step"),
        ("Factory-Template", "microservice@1.2.0"),
    )
    subject, _, body = commit.message.partition("\n\n")
    assert subject.startswith("Add ")
    assert "template microservice, version 1.2.0" in body
    assert [effect.kind for effect in result.effects] == ["commit"]


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_publishing_again_gives_the_same_result(job_type: JobType) -> None:
    """After a kill between effect and record, and after one when the ledger has it."""
    world = with_repository()
    given, tree = a_with(job_type), files(**{"docs/a.md": "a", "ci.yml": "b"})
    step = "again"
    first = publish(job_type, a_context(world, step), given, tree)
    after_kill = publish(job_type, a_context(world, step), given, tree)
    world.record(step, first)
    confirmed = publish(job_type, a_context(world, step), given, tree)
    assert first == after_kill == confirmed
    assert len(messages(world)) == 2


class UnreadableTree(Tree):
    def files(self) -> Iterator[TreeFile]:
        raise AssertionError("it was read")


def test_what_the_ledger_and_the_host_agree_on_is_not_read_again() -> None:
    world = with_repository()
    given, tree = a_with(TYPES[1]), files(one="1")
    first = TemplateLayer().publish(a_context(world, "apply"), given, tree)
    world.record("apply", first)
    unreadable = UnreadableTree(tree.content)
    assert TemplateLayer().publish(a_context(world, "apply"), given, unreadable) == first


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_a_ledger_that_says_more_than_the_host_is_not_believed(job_type: JobType) -> None:
    world = with_repository()
    world.confirmed["lost", "commit"] = "f" * 40
    world.confirmed["lost", "repository"] = "acme/shop/other"
    result = publish(job_type, a_context(world, "lost"), a_with(job_type), files(one="1"))
    assert result.outputs["commit"] == world.host.commits("acme", "shop", "orders")[-1].sha
    assert len(messages(world)) == 2


def test_a_commit_by_hand_after_a_confirmed_effect_does_not_fail_the_same_job() -> None:
    world = World()
    given, tree = a_with(TYPES[0]), files(README="hello")
    first = RepoGeneration().publish(a_context(world), given, tree)
    world.record("generate-repo", first)
    world.host.push("acme", "shop", "orders", TreeFile("theirs", b"x"))
    assert RepoGeneration().publish(a_context(world), given, tree) == first


def test_a_layer_names_its_item_and_source() -> None:
    world = with_repository()
    given = {"repository": "orders", "source": "files/domain"}
    TemplateLayer().publish(a_context(world, "apply-domain[order]"), given, files(a="1"))
    TemplateLayer().publish(a_context(world, "apply-domain"), given, files(b="1"))
    subjects = [message.splitlines()[0] for message in messages(world)]
    assert subjects == [
        "Generate the repository",
        "Add the order domain layer",
        "Add the domain layer",
    ]


def test_parallel_layers_conflict_and_following_ones_do_not() -> None:
    world = with_repository()
    given = {"repository": "orders", "source": "files/domain"}
    with pytest.raises(LayerConflictError, match="README"):
        TemplateLayer().publish(a_context(world, "apply"), given, files(README="mine"))
    follows = a_context(world, "apply", follows=("generate-repo",))
    TemplateLayer().publish(follows, given, files(README="mine"))
    assert world.host.files("acme", "shop", "orders")["README"].content == b"mine"


def test_each_document_is_an_artifact_with_its_body_in_storage() -> None:
    world = with_repository()
    tree = files(**{"docs/runbook.md": "# Run", "docs/pic.bin": "x", ".copier-answers.yml": "a"})
    result = Documentation().publish(a_context(world, "docs"), a_with(LAYERS[-1]), tree)
    (document,) = of_kind(result, ArtifactKind.DOCUMENT)
    assert (document.name, document.media_type, document.size) == (
        "docs/runbook.md",
        "text/markdown",
        5,
    )
    assert document.sha256 is not None
    assert world.storage.read("acme", document.sha256) == b"# Run"


def test_each_pipeline_is_an_artifact_and_copiers_answers_are_none() -> None:
    world = with_repository()
    tree = files(
        **{
            "azure-pipelines.yml": "a",
            ".github/workflows/ci.yml": "b",
            ".copier-answers.azure-pipelines.yml": "c",
        }
    )
    context = a_context(world, "pipelines")
    result = PipelineGeneration().publish(context, a_with(PipelineGeneration()), tree)
    names = [draft.name for draft in of_kind(result, ArtifactKind.PIPELINE)]
    assert names == ["azure-pipelines.yml", ".github/workflows/ci.yml"]


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
@pytest.mark.parametrize("name", ["../evil", "Orders", "con", "a\n", ""])
def test_a_name_that_cannot_be_a_repositorys_touches_nothing(job_type: JobType, name: str) -> None:
    world = World()
    with pytest.raises(InputError):
        job_type.publish(a_context(world), {**a_with(job_type), "repository": name}, files(one="1"))
    assert world.intended == []


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_nothing_to_publish_is_an_error_and_not_an_empty_commit(job_type: JobType) -> None:
    world = with_repository()
    with pytest.raises(PermanentError, match="no rendered files"):
        job_type.publish(a_context(world, "none"), a_with(job_type), None)
    assert len(messages(world)) == 1


@pytest.mark.parametrize("checks", [0, 1, 2])
def test_a_cancelled_job_commits_nothing(checks: int) -> None:
    world = with_repository()
    context = a_context(world, "apply")
    context.checks_until_cancelled = checks
    with pytest.raises(CancelledError):
        TemplateLayer().publish(context, a_with(TYPES[1]), files(a="1", b="2", c="3"))
    assert len(messages(world)) == 1


class BusyHost(InMemoryGitHost):
    def ensure_commit(self, *_: Any, **__: Any) -> Any:
        raise HostBusyError("come back later")


def test_a_busy_host_passes_through_for_the_engine_to_try_again() -> None:
    world = World(host=BusyHost())
    with pytest.raises(HostBusyError):
        RepoGeneration().publish(a_context(world), a_with(TYPES[0]), files(a="1"))
    assert world.host.find_repository("acme", "shop", "orders") is not None


def test_a_layer_without_its_repository_is_an_error_that_names_it() -> None:
    with pytest.raises(FactoryError, match="shop/orders"):
        TemplateLayer().publish(a_context(World(), "apply"), a_with(TYPES[1]), files(a="1"))


# --- fencing


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_a_worker_that_lost_its_lease_while_reading_commits_nothing(job_type: JobType) -> None:
    world = with_repository()
    context = a_context(world, "apply")
    # The repository is asked for once more before the commit.
    context.lease_checks_until_lost = 1 if isinstance(job_type, RepoGeneration) else 0
    with pytest.raises(LeaseLostError):
        job_type.publish(context, a_with(job_type), files(a="1", b="2"))
    assert len(messages(world)) == 1


def test_a_worker_that_lost_its_lease_makes_no_repository() -> None:
    world = World()
    context = a_context(world)
    context.lease_checks_until_lost = 0
    with pytest.raises(LeaseLostError):
        RepoGeneration().publish(context, a_with(TYPES[0]), files(a="1"))
    assert world.host.find_repository("acme", "shop", "orders") is None


class CountingTree(Tree):
    read: int = 0

    def files(self) -> Iterator[TreeFile]:
        for file in self.content:
            self.read += 1
            yield file


def test_the_lease_is_asked_for_once_and_after_the_last_file() -> None:
    world = with_repository()
    tree = CountingTree((TreeFile("a", b"1"), TreeFile("b", b"2")))
    read_before: list[int] = []

    class Watching(Context):
        def check_lease(self) -> None:
            read_before.append(tree.read)

    context = Watching(world, a_context(world, "apply").facts)
    TemplateLayer().publish(context, a_with(TYPES[1]), tree)
    assert read_before == [2]


def test_a_lost_lease_leaves_no_commit_in_git_and_the_next_attempt_makes_it(
    tmp_path: Path,
) -> None:
    host = LocalGitHost(tmp_path)
    host.ensure_repository("acme", "shop", "orders", effect_key="run-1:g", description="")
    tree = files(a="1", b="2")
    lost, next_one = a_context(World(), "apply"), a_context(World(), "apply")
    lost.other_host = next_one.other_host = host
    lost.lease_checks_until_lost = 0
    given = a_with(TYPES[1])
    with pytest.raises(LeaseLostError):
        TemplateLayer().publish(lost, given, tree)
    assert TYPES[1].probe(host, lost.world.intended[-1]) is None
    made = TemplateLayer().publish(next_one, given, tree)
    assert made.outputs["files"] == 2
    # Whoever was late finds it, reads nothing, and asks for no lease.
    unreadable = UnreadableTree(tree.content)
    assert TemplateLayer().publish(lost, given, unreadable) == made


# --- probes


@pytest.fixture(params=["memory", "local"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> GitHost:
    return InMemoryGitHost() if request.param == "memory" else LocalGitHost(tmp_path)


def on_host(host: GitHost, step: str = "generate-repo", run: str = "run-1") -> Context:
    context = a_context(World(), step, run=run)
    context.other_host = host
    return context


def probes(job_type: JobType, context: Context) -> dict[str, str | None]:
    return {effect.kind: job_type.probe(context.host, effect) for effect in context.world.intended}


def intentions(job_type: JobType, step: str, run: str = "run-1") -> list[Effect]:
    """What such a job writes into the ledger before it acts, taken from another world."""
    world = World()
    world.host.ensure_repository("acme", "shop", "orders", effect_key="run-0:g", description="")
    job_type.publish(a_context(world, step, run=run), a_with(job_type), files(a="1"))
    return world.intended


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_a_probe_finds_what_was_done_and_says_what_the_result_said(
    job_type: JobType, host: GitHost
) -> None:
    RepoGeneration().publish(on_host(host), a_with(TYPES[0]), files(README="hello"))
    context = on_host(host, "some-step[item]")
    result = publish(job_type, context, a_with(job_type), files(one="1"))
    assert probes(job_type, context) == {effect.kind: effect.reference for effect in result.effects}


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_a_probe_finds_nothing_where_nothing_was_done(job_type: JobType, host: GitHost) -> None:
    intended = intentions(job_type, "apply")
    assert [job_type.probe(host, effect) for effect in intended] == [None] * len(intended)
    assert host.find_repository("acme", "shop", "orders") is None


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
@pytest.mark.parametrize(
    ("step", "run"), [("apply", "run-1"), ("generate-repo", "run-2")], ids=["step", "run"]
)
def test_another_jobs_commit_is_not_this_ones(
    job_type: JobType, step: str, run: str, host: GitHost
) -> None:
    RepoGeneration().publish(on_host(host), a_with(TYPES[0]), files(README="hello"))
    *_, commit = intentions(job_type, step, run)
    assert commit.kind == "commit"
    assert job_type.probe(host, commit) is None


def test_a_repository_of_an_earlier_run_is_found_until_people_have_committed_to_it() -> None:
    world = World()
    RepoGeneration().publish(a_context(world), a_with(TYPES[0]), files(README="hello"))
    theirs, *_ = intentions(TYPES[0], "generate-repo", "run-2")
    assert TYPES[0].probe(world.host, theirs) == "acme/shop/orders"
    world.host.push("acme", "shop", "orders", TreeFile("by-hand", b"x"))
    assert TYPES[0].probe(world.host, theirs) is None


def test_a_repository_that_this_job_made_is_found_whoever_committed_to_it_since() -> None:
    world = World()
    RepoGeneration().publish(a_context(world), a_with(TYPES[0]), files(README="hello"))
    world.host.push("acme", "shop", "orders", TreeFile("by-hand", b"x"))
    assert TYPES[0].probe(world.host, world.intended[0]) == "acme/shop/orders"


def test_a_repository_that_is_not_ours_is_not_found() -> None:
    world = World()
    world.host.push("acme", "shop", "orders", TreeFile("by-hand", b"x"))
    mine, *_ = intentions(TYPES[0], "generate-repo")
    assert TYPES[0].probe(world.host, mine) is None


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
@pytest.mark.parametrize("facts", [{}, {"project_id": "shop"}, {"project_id": 1, "repository": 2}])
def test_an_effect_without_its_place_is_not_found(
    job_type: JobType, facts: Mapping[str, Any]
) -> None:
    world = with_repository()
    for effect in world.intended:
        assert job_type.probe(world.host, replace(effect, facts=facts)) is None


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_an_effect_of_a_kind_that_it_does_not_know_is_not_found(job_type: JobType) -> None:
    world = with_repository()
    assert job_type.probe(world.host, replace(world.intended[-1], kind="pipeline")) is None


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_a_host_that_cannot_tell_is_no_answer(job_type: JobType) -> None:
    class Down(InMemoryGitHost):
        def find_commit(self, *_: Any, **__: Any) -> Any:
            raise HostBusyError("come back later")

    world = with_repository()
    with pytest.raises(HostBusyError):
        job_type.probe(Down(), world.intended[-1])
