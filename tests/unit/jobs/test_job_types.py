"""The five job types on the in-memory host and storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    HostBusyError,
    InputError,
    LayerConflictError,
    PermanentError,
)
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.jobs.documentation import Documentation
from factory_runtime.jobs.pipeline_generation import PipelineGeneration
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import Commit, CommitOrder, JobType, PullRequest, PullRequestStatus
from tests.job_types import (
    DIGEST,
    LAYERS,
    TRACE,
    TYPES,
    UnreadableTree,
    World,
    a_context,
    a_with,
    files,
    messages,
    of_kind,
    publish,
    with_repository,
)

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
    assert undos.pop("repo-generation") == ("delete-repository", "revert-commit")
    assert set(undos.values()) == {("revert-commit",)}


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
        ("Factory-Trace", TRACE),
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


class ProtectedHost(InMemoryGitHost):
    """Its default branch takes no pushes: every commit waits in a pull request."""

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        commit = super().ensure_commit(tenant_id, order, files)
        url = "https://forge.example/pull/7"
        request = PullRequest("7", url, "factory/run-1", "main", PullRequestStatus.OPEN)
        return replace(commit, pull_request=request)


@pytest.mark.parametrize("job_type", TYPES, ids=lambda t: t.facts.name)
def test_where_no_pushes_are_taken_it_tells_of_the_pull_request(job_type: JobType) -> None:
    world = with_repository(World(host=ProtectedHost()))
    context = a_context(world, step="of-this-type")
    result = publish(job_type, context, a_with(job_type), files(TEXT="hello"))
    assert result.outputs["pull_request"] == "7"
    assert result.outputs["pull_request_url"] == "https://forge.example/pull/7"
    (commit,) = of_kind(result, ArtifactKind.COMMIT)
    assert commit.metadata["pull_request"] == "7"
    assert context.lines[-1].endswith(", to be merged by https://forge.example/pull/7")
