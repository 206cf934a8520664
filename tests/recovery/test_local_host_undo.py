"""What an undo does not take for gone: hidden, rewritten, stripped of its marks, or moved."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain.errors import HostBusyError, RepositoryChangedError
from factory_runtime.domain.records import Effect
from factory_runtime.hosts import removal
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.undoing import probe_removal
from factory_runtime.ports import Commit
from tests.git_hosts import AT, LocalOutside, an_order, commit, contents, ensure_repository

KEY = "run-1:generate"
OURS = frozenset({"run-1", "run-1u"})


@pytest.fixture
def outside(tmp_path: Path) -> LocalOutside:
    made = LocalOutside(tmp_path)
    ensure_repository(made)
    return made


def bare(outside: LocalOutside, name: str = "orders") -> Path:
    return outside.folder / "git host" / "acme" / "shop" / f"{name}.git"


def remove(outside: LocalOutside) -> bool:
    return outside.host.remove_repository("acme", "shop", "orders", effect_key=KEY, runs=OURS)


def revert(outside: LocalOutside, made: Commit) -> Commit | None:
    order = an_order("undo-generate", "run-1u")
    undoes = ("Factory-Undoes", made.sha)
    order = replace(order, trailers=(*order.trailers[:2], undoes))
    return outside.host.revert_commit("acme", order, made.sha)


def an_effect(kind: str, **facts: str) -> Effect:
    about = {"project_id": "shop", "repository": "orders", **facts}
    return Effect(KEY, kind, "acme", "run-1", "generate", "orders", AT, facts=about)


def test_a_repository_whose_lock_cannot_be_had_is_not_gone(outside: LocalOutside):
    made = commit(outside, an_order("generate"), one="1")
    shutil.rmtree(bare(outside) / "factory")
    for act in (lambda: revert(outside, made), lambda: remove(outside)):
        with pytest.raises(RepositoryChangedError, match="lost its folder"):
            act()
    assert contents(outside) == {"one": "1"}


def test_a_repository_without_our_marks_is_not_gone(outside: LocalOutside):
    made = commit(outside, an_order("generate"), one="1")
    (bare(outside) / "config").write_text("[core]\n\tbare = true\n")
    with pytest.raises(RepositoryChangedError, match="no marks"):
        revert(outside, made)
    with pytest.raises(RepositoryChangedError, match="not made by the factory"):
        remove(outside)
    assert contents(outside) == {"one": "1"}


def test_a_commit_that_was_rewritten_is_not_gone(outside: LocalOutside):
    made = commit(outside, an_order("generate"), one="1")
    clone = outside.clone("orders")
    outside.git("commit", "--quiet", "--amend", "-m", "Mine now", cwd=clone)
    outside.git("push", "--quiet", "--force", "origin", "HEAD:main", cwd=clone)
    with pytest.raises(RepositoryChangedError, match="history was rewritten"):
        revert(outside, made)
    assert contents(outside) == {"one": "1"}


def test_a_file_that_a_person_renamed_is_not_gone(outside: LocalOutside):
    made = commit(outside, an_order("generate"), one="1")
    clone = outside.clone("orders")
    outside.git("mv", "one", "two", cwd=clone)
    outside.git("commit", "--quiet", "-m", "Rename", cwd=clone)
    outside.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    with pytest.raises(RepositoryChangedError, match=r"has two, one before commit .* of Ann"):
        revert(outside, made)
    assert contents(outside) == {"two": "1"}


def test_a_file_that_a_person_deleted_is_gone(outside: LocalOutside):
    made = commit(outside, an_order("generate"), one="1", empty="")
    clone = outside.clone("orders")
    outside.git("rm", "--quiet", "one", "empty", cwd=clone)
    (clone / "theirs").write_text("")
    outside.git("add", "theirs", cwd=clone)
    outside.git("commit", "--quiet", "-m", "Delete", cwd=clone)
    outside.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    assert revert(outside, made) is not None
    assert contents(outside) == {"theirs": ""}


class KilledError(BaseException):
    """Stands for a SIGKILL."""


def cut_off(outside: LocalOutside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that is killed when it has put the repository aside."""

    def is_killed(_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(removal, "_open_refs", is_killed)
        with pytest.raises(KilledError):
            remove(outside)
    assert not bare(outside).exists()


def test_a_repository_that_a_killed_removal_hides_is_still_there(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    commit(outside, an_order("generate"), one="1")
    cut_off(outside, monkeypatch)
    found = outside.host.find_repository("acme", "shop", "orders")
    assert found is not None
    assert found.effect_key == KEY
    assert RepoGeneration().probe(outside.host, an_effect("repository")) == found.id
    assert probe_removal(outside.host, an_effect("undo-repository", made_by=KEY)) is None
    assert remove(outside), "the next one ends it"
    assert outside.host.find_repository("acme", "shop", "orders") is None
    assert probe_removal(outside.host, an_effect("undo-repository", made_by=KEY)) == "removed"


def test_what_a_person_pushed_meanwhile_comes_back_in_sight(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    commit(outside, an_order("generate"), one="1")
    cut_off(outside, monkeypatch)
    (aside,) = bare(outside).parent.glob(".removed-*")
    clone = outside.folder / "late"
    outside.git("clone", "--quiet", aside.as_uri(), str(clone))
    (clone / "theirs").write_text("2")
    outside.git("add", ".", cwd=clone)
    outside.git("commit", "--quiet", "-m", "By hand", cwd=clone)
    outside.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    ensure_repository(outside, run="run-2")  # somebody takes the name
    with pytest.raises(RepositoryChangedError, match=r"kept as orders-kept-1\.git.*of Ann"):
        remove(outside)
    kept = outside.folder / "kept"
    outside.git("clone", "--quiet", bare(outside, "orders-kept-1").as_uri(), str(kept))
    assert (kept / "theirs").read_text() == "2"
    assert not list(bare(outside).parent.glob(".removed-*"))


def test_a_repository_that_others_keep_pushing_to_is_put_back(
    outside: LocalOutside, monkeypatch: pytest.MonkeyPatch
):
    def never_closes(_: Path) -> bool:
        return False

    commit(outside, an_order("generate"), one="1")
    monkeypatch.setattr(removal, "_close_refs", never_closes)
    with pytest.raises(HostBusyError, match="keep pushing"):
        remove(outside)
    assert contents(outside) == {"one": "1"}


def test_a_probe_makes_no_repository(tmp_path: Path):
    outside = LocalOutside(tmp_path)
    assert RepoGeneration().probe(outside.host, an_effect("repository")) is None
    assert outside.host.find_adoptable("acme", "shop", "orders") is None
    assert not bare(outside).exists()
