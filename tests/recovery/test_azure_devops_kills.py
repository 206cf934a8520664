"""Azure DevOps where an answer is lost, or who asked is killed: nothing is there twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops import open_azure_devops
from factory_runtime.ports import Commit, CommitOrder, GitHost
from tests.forge import Forge
from tests.git_hosts import AzureOutside, an_order
from tests.recovery.git_writers import Writer

PROJECT = "acme-shop"
SOME = [TreeFile(f"{number}.txt", b"one\n" * 200) for number in range(20)]
MOST_REQUESTS = 60


@pytest.fixture
def outside(tmp_path: Path, forge: Forge) -> AzureOutside:
    return AzureOutside(tmp_path, forge)


def make(host: GitHost, name: str) -> Commit:
    host.ensure_repository("acme", "shop", name, effect_key=f"{name}:g", description="")
    return host.ensure_commit("acme", for_(name), SOME)


def remove(host: GitHost, name: str) -> bool:
    runs = frozenset({"run-1"})
    return host.remove_repository("acme", "shop", name, effect_key=f"{name}:g", runs=runs)


def for_(name: str, run: str = "run-1") -> CommitOrder:
    return replace(an_order("generate", run), repository=name)


def names() -> Generator[tuple[int, str]]:
    """A number and a name for each request that there may be."""
    for number in range(MOST_REQUESTS):
        yield number, f"orders-{number}"
    raise AssertionError("it does not come to an end")


def lost(outside: AzureOutside, when: str, number: int, work: Callable[[], object]) -> bool:
    """Whether there was such a request; the answer to it was lost, and we are elsewhere."""
    # Where git fetches, it sends what was cut once more by itself.
    outside.forge.cut("*", when, skips=number, times=2)
    try:
        work()
    except HostBusyError:
        outside.forge.forget_faults()
        outside.elsewhere()
        return True
    was_cut = not outside.forge.app.faults.pending
    outside.forge.forget_faults()
    return was_cut


def commits_of(outside: AzureOutside, name: str, branch: str = "main") -> list[str]:
    return outside.git("log", "--format=%H", branch, cwd=outside.bare(name)).split()


SOAKED = [pytest.param(when, marks=pytest.mark.soak) for when in ("before", "amid")]


@pytest.mark.parametrize("when", ["after", *SOAKED])
def test_whatever_answer_is_lost_there_is_one_repository_with_one_commit(
    outside: AzureOutside, when: str
) -> None:
    used: list[str] = []
    for number, name in names():
        used.append(name)
        was_lost = lost(outside, when, number, lambda name=name: make(outside.host, name))
        made = make(outside.host, name)
        assert commits_of(outside, name) == [made.sha]
        if not was_lost:
            assert number > 10
            break
    assert outside.forge.repositories(PROJECT) == used
    assert outside.forge.world.recycled == {}


@pytest.mark.soak
@pytest.mark.parametrize("when", ["before", "after", "amid"])
def test_whatever_answer_is_lost_there_is_one_pull_request(
    outside: AzureOutside, when: str
) -> None:
    used: list[str] = []
    for number, name in names():
        used.append(name)
        make(outside.host, name)
        outside.forge.protect(PROJECT, "main", name)
        order = for_(name, "run-2")

        def work(order: CommitOrder = order) -> Commit:
            return outside.host.ensure_commit("acme", order, SOME)

        was_lost = lost(outside, when, number, work)
        made = work()
        assert made.pull_request is not None
        assert commits_of(outside, name, "main..factory/run-2") == [made.sha]
        if not was_lost:
            break
    assert len(outside.forge.pull_requests(PROJECT)) == len(used)


@pytest.mark.soak
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_answer_is_lost_a_repository_is_removed_once(
    outside: AzureOutside, when: str
) -> None:
    used: list[str] = []
    for number, name in names():
        used.append(name)
        make(outside.host, name)
        was_lost = lost(outside, when, number, lambda name=name: remove(outside.host, name))
        remove(outside.host, name)
        assert outside.forge.repositories(PROJECT) == []
        if not was_lost:
            break
    assert len(outside.forge.world.recycled) == len(used)


def make_for_ever(url: str, token: str, mirrors: str, name: str) -> None:
    fields = {"url": url, "token": token, "projects": "{tenant}-{project}"}
    host = open_azure_devops(fields, Path(mirrors), Secrets())
    make(host, name)
    os.write(1, b"made\n")
    time.sleep(60)


@pytest.mark.soak
def test_whenever_a_process_is_killed_another_machine_goes_on(outside: AzureOutside) -> None:
    """Its fetches may live on, and the host go on with its push while the other one makes its own."""
    forge, token = outside.forge, outside.forge.add_token()
    used: list[str] = []
    for number, name in names():
        used.append(name)
        asked, mirrors = len(forge.seen), str(outside.folder / f"of-{name}")
        forge.set_latency(0.02)
        with Writer(make_for_ever, forge.url, token, mirrors, name) as child:
            is_made = False
            while len(forge.seen) <= asked + number and not is_made:
                is_made = forge.count("git.push") > 0 and _is_whole(outside, name)
                time.sleep(0.002)
            child.kill()
        forge.set_latency(0)
        outside.elsewhere()
        made = make(outside.host, name)
        assert commits_of(outside, name) == [made.sha]
        if is_made:
            assert number > 10
            break
    assert forge.repositories(PROJECT) == used


def _is_whole(outside: AzureOutside, name: str) -> bool:
    if name not in outside.forge.repositories(PROJECT):
        return False
    heads = outside.git("for-each-ref", "refs/heads/main", cwd=outside.bare(name))
    return bool(heads)
