"""Repositories of the local host that are removed while people push, or whose remover is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_runtime.domain.errors import RepositoryChangedError
from factory_runtime.hosts import commits, removal
from factory_runtime.ports import Commit
from tests.git_hosts import LocalOutside, an_order, commit, contents, ensure_repository

RUNS = frozenset({"run-1"})


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def outside(tmp_path: Path) -> LocalOutside:
    outside = LocalOutside(tmp_path)
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    return outside


def bare(outside: LocalOutside) -> Path:
    return outside.folder / "git host" / "acme" / "shop" / "orders.git"


def remove(outside: LocalOutside) -> bool:
    return outside.host.remove_repository(
        "acme", "shop", "orders", effect_key="run-1:generate", runs=RUNS
    )


def hidden(outside: LocalOutside) -> list[str]:
    """What lies beside the repositories."""
    return [place.name for place in bare(outside).parent.iterdir() if place.name[0] == "."]


def a_persons_clone(outside: LocalOutside) -> Path:
    """With a commit to be pushed."""
    place = outside.clone("orders")
    (place / "notes").write_text("theirs")
    outside.git("add", ".", cwd=place)
    outside.git("commit", "--quiet", "-m", "By hand", cwd=place)
    return place


# --- people


def test_a_push_that_is_under_way_is_refused_and_not_lost(outside: LocalOutside):
    """It has found the repository, and is held at its gate until that is gone."""
    clone, gate = a_persons_clone(outside), outside.folder / "gate"
    hook = bare(outside) / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text(
        f"#!/bin/sh\ntouch '{gate}.reached'\nuntil test -e '{gate}'; do sleep 0.02; done\n"
    )
    hook.chmod(0o755)
    push = subprocess.Popen(
        ["git", "push", "origin", "HEAD:main"], cwd=clone, stderr=subprocess.PIPE, text=True
    )
    until(lambda: Path(f"{gate}.reached").exists())
    assert remove(outside)
    gate.touch()
    _, said = push.communicate(timeout=60)
    assert push.returncode != 0, "who pushed was not told that it is kept"
    assert said
    assert not bare(outside).exists()
    assert hidden(outside) == []


def test_a_push_that_lands_while_it_is_removed_keeps_the_repository(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    """It lands in the folder that was put aside, after that was looked at."""
    clone = a_persons_clone(outside)
    close = removal._close_refs  # pyright: ignore[reportPrivateUsage] - between two of its steps

    def pushed_before(place: Path) -> bool:
        if (place / "refs").is_dir():
            outside.git("push", "--quiet", place.as_uri(), "HEAD:main", cwd=clone)
        return close(place)

    monkeypatch.setattr(removal, "_close_refs", pushed_before)
    with pytest.raises(RepositoryChangedError, match="of Ann"):
        remove(outside)
    assert contents(outside) == {"one": "1", "notes": "theirs"}
    assert hidden(outside) == []


def test_a_branch_that_comes_while_its_refs_are_closed_is_not_lost(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    touch, clone = Path.touch, a_persons_clone(outside)
    sha = outside.git("rev-parse", "HEAD", cwd=clone).strip()

    def branch_before(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        if self.name == "refs" and not exist_ok:
            (self / "heads").mkdir(parents=True)
            (self / "heads" / "theirs").write_text(f"{sha}\n")
        touch(self, mode, exist_ok)

    outside.git("push", "--quiet", "origin", "HEAD:refs/heads/theirs", cwd=clone)
    outside.git("push", "--quiet", "origin", ":refs/heads/theirs", cwd=clone)  # its objects stay
    monkeypatch.setattr(Path, "touch", branch_before)
    with pytest.raises(RepositoryChangedError, match="has the branch theirs"):
        remove(outside)
    assert contents(outside) == {"one": "1"}


@pytest.mark.parametrize(
    ("ref", "what"),
    [("refs/heads/try/it", "the branch try/it"), ("refs/tags/v1", "the tag v1"),
     ("refs/notes/x", "has notes x")],
)  # fmt: skip
def test_a_branch_or_tag_of_somebody_keeps_the_repository(
    outside: LocalOutside, ref: str, what: str
):
    outside.git("push", "--quiet", "origin", f"HEAD:{ref}", cwd=outside.clone("orders"))
    with pytest.raises(RepositoryChangedError, match=what):
        remove(outside)
    assert contents(outside) == {"one": "1"}


def test_what_people_call_themselves_stays_one_plain_line(outside: LocalOutside):
    made = commit(outside, an_order("apply"), two="2")
    clone = outside.clone("orders")
    (clone / "two").write_text("theirs")
    author = "\x1b[31mEve\x07 <eve@example.org>"
    outside.git("commit", "--quiet", "--all", "-m", "x", f"--author={author}", cwd=clone)
    outside.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    for refused in (
        lambda: remove(outside),
        lambda: outside.host.revert_commit("acme", an_order("undo-apply", "run-1u"), made.sha),
    ):
        with pytest.raises(RepositoryChangedError, match=r"of .*Eve") as info:
            refused()
        assert str(info.value).isprintable()


def test_a_commit_of_ours_that_somebody_amended_is_theirs(outside: LocalOutside):
    """It carries our trailers all the same."""
    clone = outside.clone("orders")
    (clone / "one").write_text("theirs")
    outside.git("commit", "--quiet", "--all", "--amend", "--no-edit", cwd=clone)
    outside.git("push", "--quiet", "--force", "origin", "HEAD:main", cwd=clone)
    amended = outside.head("orders")
    with pytest.raises(RepositoryChangedError, match=f"has commit {amended[:12]}"):
        remove(outside)
    order = an_order("undo-generate", "run-1u")
    with pytest.raises(RepositoryChangedError, match=f"has commit {amended[:12]}"):
        outside.host.revert_commit("acme", order, amended)
    assert contents(outside) == {"one": "theirs"}


def test_a_commit_that_is_not_on_the_branch_any_more_needs_no_taking_back(outside: LocalOutside):
    made = commit(outside, an_order("apply"), two="2")
    clone = outside.clone("orders")
    outside.git("push", "--quiet", "--force", "origin", "HEAD~1:main", cwd=clone)
    order = an_order("undo-apply", "run-1u")
    assert outside.host.revert_commit("acme", order, made.sha) is None


def test_a_push_that_moves_the_branch_meanwhile_stays_below_the_revert(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    made = commit(outside, an_order("apply"), two="2")
    clone = a_persons_clone(outside)
    plan, pushed = commits.changes_to_revert, list[bool]()

    def push_after(*arguments: object) -> object:
        changes = plan(*arguments)  # pyright: ignore[reportArgumentType]
        if not pushed:
            outside.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
            pushed.append(True)
        return changes

    monkeypatch.setattr(commits, "changes_to_revert", push_after)
    taken = outside.host.revert_commit("acme", an_order("undo-apply", "run-1u"), made.sha)
    assert isinstance(taken, Commit)
    assert contents(outside) == {"one": "1", "notes": "theirs"}


# --- kills


def dies_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> None:
    original: Callable[..., object] = getattr(owner, name)

    def deadly(*arguments: object, **named: object) -> object:
        if after:
            original(*arguments, **named)
        raise Killed

    monkeypatch.setattr(owner, name, deadly)


STEPS = [
    (removal, "_open_refs", False),  # it was put aside
    (removal, "_close_refs", False),
    (removal, "_close_refs", True),
    (removal.shutil, "rmtree", False),  # only its rest is left
]


@pytest.mark.parametrize(("owner", "name", "after"), STEPS, ids=["aside", "open", "closed", "rest"])
def test_what_a_killed_removal_leaves_the_next_one_ends(
    outside: LocalOutside,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    after: bool,
):
    with monkeypatch.context() as patched:
        dies_at(patched, owner, name, after=after)
        if name == "rmtree":  # what is not there is looked for first
            patched.setattr(owner, name, dies_of_what_is_there)
        with pytest.raises(Killed):
            remove(outside)
    still_there = outside.host.find_repository("acme", "shop", "orders") is not None
    assert still_there == (name != "rmtree"), "what is only hidden is not gone"
    assert len(hidden(outside)) == 1
    remove(outside)
    assert hidden(outside) == []
    assert ensure_repository(outside, run="run-2").created


def dies_of_what_is_there(place: Path, **_: object) -> None:
    if place.exists():
        raise Killed


@pytest.mark.parametrize(("owner", "name", "after"), STEPS[:3], ids=["aside", "open", "closed"])
def test_what_a_killed_removal_put_aside_comes_back_where_somebody_pushed(
    outside: LocalOutside,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    after: bool,
):
    clone = a_persons_clone(outside)
    with monkeypatch.context() as patched:
        dies_at(patched, owner, name, after=after)
        with pytest.raises(Killed):
            remove(outside)
    (aside,) = (bare(outside).parent / place for place in hidden(outside))
    refs = aside / ("refs" if (aside / "refs").is_dir() else "refs.closed")
    sha = outside.git("rev-parse", "HEAD", cwd=clone).strip()
    # As a push that was under way would: objects first, then the branch.
    pack = outside.git("rev-list", "--objects", "HEAD", cwd=clone)
    packed = subprocess.run(
        ["git", "pack-objects", "--stdout", "-q"],
        cwd=clone,
        input=pack.encode(),
        capture_output=True,
        check=True,
    )
    objects = aside / "objects" / "pack" / f"pack-{sha}.pack"
    objects.write_bytes(packed.stdout)
    outside.git("index-pack", str(objects))
    (refs / "heads" / "main").write_text(f"{sha}\n")
    with pytest.raises(RepositoryChangedError, match="of Ann"):
        remove(outside)
    assert contents(outside) == {"one": "1", "notes": "theirs"}
    assert hidden(outside) == []


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
