"""What the job types do outside: never for a lost lease, and found again by their probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    HostBusyError,
    LeaseLostError,
)
from factory_runtime.domain.records import Effect
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import GitHost, JobType
from tests.job_types import (
    TYPES,
    Context,
    Tree,
    UnreadableTree,
    World,
    a_context,
    a_with,
    files,
    messages,
    publish,
    with_repository,
)

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
