"""The local git host when processes are killed, locks are left over, or the disk is full."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    PermanentError,
    RepositoryChangedError,
    RepositoryTakenError,
    StorageAwayError,
)
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts import local
from factory_runtime.hosts.local import LocalGitHost
from tests.recovery.git_writers import (
    Writer,
    an_order,
    commit,
    commit_a_lot_within_limits,
    commit_for_ever,
    commit_three,
    die_in_the_commit,
    ensure_on_a_read_only_disk,
    ensure_repository,
    hold_the_lock_and_commit,
)

ROUNDS = 8


@pytest.fixture
def host(tmp_path: Path) -> LocalGitHost:
    return LocalGitHost(tmp_path / "git")


def bare(tmp_path: Path) -> Path:
    return tmp_path / "git" / "acme" / "shop" / "orders.git"


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=place, capture_output=True, check=True)
    return done.stdout.decode()


def steps_on_main(place: Path) -> list[str]:
    return git(
        place, "log", "--format=%(trailers:key=Factory-Step,valueonly,separator=)", "main"
    ).split()


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


@pytest.mark.parametrize("orphan_git", [True, False], ids=["parent killed", "git killed as well"])
def test_a_writer_killed_at_any_moment_leaves_whole_commits_and_blocks_nobody(
    host: LocalGitHost, tmp_path: Path, orphan_git: bool
) -> None:
    moments = random.Random(7)  # noqa: S311 - any moment will do
    for round_ in range(ROUNDS):
        before = len(steps_on_main(bare(tmp_path))) if bare(tmp_path).exists() else 0
        with Writer(commit_for_ever, str(tmp_path / "git"), str(before)) as child:
            child.process.join(moments.uniform(0.001, 0.06))
            assert child.process.exitcode is None
            gits = children_of(child.pid)
            child.process.kill()
            for git_process in [] if orphan_git else gits:
                try:
                    os.kill(git_process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            child.ended()
        ensure_repository(host)
        commit(host, f"after-{round_}")
    place = bare(tmp_path)
    steps = steps_on_main(place)
    assert len(steps) == len(set(steps))
    assert {f"after-{round_}" for round_ in range(ROUNDS)} <= set(steps)
    for step in steps:
        listed = git(place, "ls-tree", "-r", "--name-only", "main", f"{step}/")
        assert len(listed.splitlines()) == 40
    git(place, "fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize("name", ["refs/heads/main.lock", "HEAD.lock"])
def test_a_lock_that_a_killed_git_left_does_not_block_the_next_commit(
    host: LocalGitHost, tmp_path: Path, name: str
) -> None:
    ensure_repository(host)
    commit(host, "first")
    (bare(tmp_path) / name).touch()
    assert commit(host, "second").created
    assert steps_on_main(bare(tmp_path)) == ["second", "first"]


def test_the_lock_of_a_killed_holder_is_free_and_its_half_commit_never_seen(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    with Writer(hold_the_lock_and_commit, str(tmp_path / "git")) as child:
        assert child.hear() == "half"
        child.kill()
        child.ended()
    assert host.find_commit("acme", "shop", "orders", an_order("held").trailers) is None
    assert commit(host, "next").created
    assert commit(host, "held").created
    assert steps_on_main(bare(tmp_path)) == ["held", "next"]


def test_a_git_that_outlives_its_killed_parent_keeps_the_lock(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    with Writer(hold_the_lock_and_commit, str(tmp_path / "git")) as child:
        assert child.hear() == "half"
        (orphan,) = children_of(child.pid)
        os.kill(orphan, signal.SIGSTOP)
        child.kill()
        with (bare(tmp_path) / "factory" / "lock").open("r+") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(orphan, signal.SIGCONT)
            fcntl.flock(lock, fcntl.LOCK_EX)
    assert commit(host, "next").created


def test_a_commit_that_git_was_only_half_told_of_is_never_made(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    with Writer(die_in_the_commit, str(tmp_path / "git")) as child:
        assert child.ended()[0] == -signal.SIGKILL
    made = commit(host, "first")
    assert made.created
    listed = git(bare(tmp_path), "ls-tree", "-r", "--name-only", "main")
    assert len(listed.splitlines()) == 40


def test_a_push_in_the_middle_of_a_commit_is_kept(host: LocalGitHost, tmp_path: Path) -> None:
    """The branch moves after the commit has begun: it is made again, on top of the push."""
    url = ensure_repository(host).url
    commit(host, "first")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", url, str(clone))

    def files() -> Iterator[TreeFile]:
        yield TreeFile("ours", b"1")
        (clone / "theirs").write_text("2")
        git(clone, "add", ".")
        git(clone, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "By hand")
        git(clone, "push", "--quiet", "origin", "main")
        yield TreeFile("also", b"3")

    made = host.ensure_commit("acme", an_order("second"), files())
    assert made.created
    git(clone, "pull", "--quiet", "--ff-only")
    assert {"ours", "theirs", "also"} <= {path.name for path in clone.iterdir()}
    assert git(clone, "rev-list", "--count", "HEAD").strip() == "3"


def test_many_processes_commit_one_behind_the_other(host: LocalGitHost, tmp_path: Path) -> None:
    ensure_repository(host)
    children = [Writer(commit_three, str(tmp_path / "git")) for _ in range(4)]
    for child in children:
        with child:
            assert child.ended() == (0, "")
    assert sorted(steps_on_main(bare(tmp_path))) == ["step-0", "step-1", "step-2"]


def test_old_leftovers_are_swept_and_fresh_ones_are_left(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    place = bare(tmp_path)
    old = [place / "fast_import_crash_1", place / "objects/pack/tmp_pack_1"]
    fresh = place / "objects/pack/tmp_pack_2"
    unfinished = place.parent / ".unfinished-1"
    unfinished.mkdir()
    for leftover in [*old, fresh]:
        leftover.touch()
    for leftover in [*old, unfinished]:
        os.utime(leftover, (1_000_000_000, 1_000_000_000))
    commit(host, "first")
    host.ensure_repository("acme", "shop", "other", effect_key="run-1:g", description="")
    assert not [leftover for leftover in [*old, unfinished] if leftover.exists()]
    assert fresh.exists()


def test_many_commits_do_not_leave_as_many_packs(host: LocalGitHost, tmp_path: Path) -> None:
    ensure_repository(host)
    for number in range(52):
        host.ensure_commit("acme", an_order(f"s{number}"), [TreeFile(f"{number}", b"x")])
    assert len(list((bare(tmp_path) / "objects/pack").glob("*.pack"))) < 10
    assert len(steps_on_main(bare(tmp_path))) == 52
    git(bare(tmp_path), "fsck", "--strict", "--no-dangling")


def test_a_lost_note_of_what_was_written_is_read_from_the_commit(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    made = commit(host, "first")
    for note in (bare(tmp_path) / "factory/written").rglob("*.json"):
        note.write_text("{")
    again = commit(host, "first")
    assert (again.sha, again.files, again.created) == (made.sha, 40, False)


def test_a_full_disk_is_named_and_leaves_the_branch_as_it_was(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    commit(host, "first")
    with Writer(commit_a_lot_within_limits, str(tmp_path / "git")) as child:
        status, said = child.ended()
    assert (status, said) == (0, f"no room left in {bare(tmp_path)}")
    commit(host, "second")
    assert steps_on_main(bare(tmp_path)) == ["second", "first"]


def test_a_missing_git_is_named(
    host: LocalGitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(PermanentError, match="git is not installed") as info:
        ensure_repository(host)
    assert "install git" in str(info.value.hint)
    assert not bare(tmp_path).exists()


def test_a_git_that_hangs_is_ended_with_its_children(
    host: LocalGitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_repository(host)
    hanging = tmp_path / "bin" / "git"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nsleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("factory_runtime.hosts.git.TIME_LIMIT", timedelta(seconds=0.1))
    with pytest.raises(HostBusyError, match=r"git .* was stopped"):
        commit(host, "first")


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "git").write_text("a file where the folder should be")
    with pytest.raises(PermanentError, match=str(tmp_path / "git")):
        ensure_repository(LocalGitHost(tmp_path / "git"))


def test_a_read_only_folder_is_named_with_the_fix(tmp_path: Path) -> None:
    with Writer(ensure_on_a_read_only_disk, str(tmp_path)) as child:
        status, said = child.ended()
    assert status == 0
    assert said.startswith(str(tmp_path))
    assert "FACTORY_HOME" in said


def test_the_users_own_git_configuration_changes_nothing(
    host: LocalGitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks" / "reference-transaction"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[core]\nhooksPath = {tmp_path / 'hooks'}\n[init]\ndefaultBranch = x\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    ensure_repository(host)
    assert commit(host, "first").created


@pytest.mark.parametrize("damage", ["HEAD", "config", "objects"])
def test_a_damaged_repository_gives_one_of_our_errors(
    host: LocalGitHost, tmp_path: Path, damage: str
) -> None:
    ensure_repository(host)
    commit(host, "first")
    (bare(tmp_path) / damage).rename(tmp_path / "aside")
    with pytest.raises(FactoryError):
        ensure_repository(host)
    with pytest.raises(FactoryError):
        commit(host, "second")


def test_a_folder_or_a_link_in_the_repositorys_place_is_taken(
    host: LocalGitHost, tmp_path: Path
) -> None:
    place = bare(tmp_path)
    place.mkdir(parents=True)
    with pytest.raises(RepositoryTakenError, match="not made by the factory"):
        ensure_repository(host)
    place.rmdir()
    place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RepositoryTakenError):
        ensure_repository(host)
    place.unlink()
    place.with_name("Orders.git").mkdir()
    with pytest.raises(RepositoryTakenError, match=r"differs from Orders\.git in case alone"):
        ensure_repository(host)


def test_a_repository_copied_to_another_project_is_not_ours_there(
    host: LocalGitHost, tmp_path: Path
) -> None:
    ensure_repository(host)
    commit(host, "first")
    other = tmp_path / "git" / "globex" / "shop"
    other.mkdir(parents=True)
    bare(tmp_path).rename(other / "orders.git")
    assert host.find_repository("globex", "shop", "orders") is None
    with pytest.raises(RepositoryTakenError):
        host.ensure_repository("globex", "shop", "orders", effect_key="k", description="")


def test_who_looks_at_a_repository_that_is_being_removed_finds_none(
    host: LocalGitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = [
        lambda: host.find_commit(
            "acme", "shop", "orders", (("Factory-Run", "run-1"), ("Factory-Step", "first"))
        ),
        lambda: host.find_adoptable("acme", "shop", "orders"),
    ]
    look = local.head_of

    def removed_first(place: Path) -> str | None:
        place.rename(place.with_name(".removed"))
        shutil.rmtree(place.with_name(".removed"))
        return look(place)

    monkeypatch.setattr(local, "head_of", removed_first)
    for each in find:
        ensure_repository(host)
        assert each() is None


def test_who_looks_at_a_repository_whose_share_goes_away_is_not_told_that_there_is_none(
    host: LocalGitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_repository(host)

    def away(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    def look(place: Path) -> str | None:
        monkeypatch.setattr(Path, "lstat", away)
        raise StorageAwayError("the share is away")

    monkeypatch.setattr(local, "head_of", look)
    with pytest.raises(StorageAwayError):
        host.find_adoptable("acme", "shop", "orders")


def test_a_repository_made_anew_while_its_removal_looks_is_known_for_ours(
    host: LocalGitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = local.read_marks, list[Path]()

    def missed_at_first(place: Path) -> dict[str, str]:
        seen.append(place)
        return read(place) if len(seen) > 1 else {}

    made = ensure_repository(host)
    monkeypatch.setattr(local, "read_marks", missed_at_first)
    with pytest.raises(RepositoryChangedError) as refused:
        host.remove_repository("acme", "shop", "orders", effect_key="another", runs=frozenset())
    assert made.name == "orders"
    assert "was not made by the factory" not in str(refused.value)
