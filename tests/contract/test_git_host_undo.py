"""What every git host does when something is taken back, and never does to what people work in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from factory_runtime.domain.errors import FactoryError, InputError, RepositoryChangedError
from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports import Commit
from tests.git_hosts import Outside, an_order, commit, contents, ensure_repository

OURS = frozenset({"run-1", "run-1u"})


def remove(outside: Outside, key: str = "run-1:generate", runs: frozenset[str] = OURS) -> bool:
    return outside.host.remove_repository("acme", "shop", "orders", effect_key=key, runs=runs)


def revert(outside: Outside, made: Commit, step: str = "undo-generate") -> Commit | None:
    order = an_order(step, "run-1u")
    undoes = ("Factory-Undoes", made.sha)
    order = replace(order, trailers=(*order.trailers[:2], undoes))
    return outside.host.revert_commit("acme", order, made.sha)


def is_there(outside: Outside) -> bool:
    return outside.host.find_repository("acme", "shop", "orders") is not None


# --- removing


def test_a_repository_that_only_its_runs_wrote_to_is_removed_once(outside: Outside) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate"), one="1")
    revert(outside, made)
    assert remove(outside)
    assert not is_there(outside)
    assert not remove(outside), "it is gone already"


def test_an_empty_repository_is_removed(outside: Outside) -> None:
    ensure_repository(outside)
    assert remove(outside)
    assert not is_there(outside)


def test_a_removed_repository_can_be_made_again_and_is_another(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    remove(outside)
    assert ensure_repository(outside, run="run-2").created
    assert outside.files("orders") == {}
    with pytest.raises(RepositoryChangedError, match="was made by run-2:generate"):
        remove(outside)
    assert is_there(outside)


def test_a_repository_that_an_earlier_run_made_is_not_removed(outside: Outside) -> None:
    ensure_repository(outside, run="run-0")
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    with pytest.raises(RepositoryChangedError, match="was made by run-0:generate"):
        remove(outside)
    assert contents(outside) == {"one": "1"}


def test_a_repository_that_people_have_committed_to_is_not_removed(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryChangedError, match=r"has commit [0-9a-f]{12} of Ann") as info:
        remove(outside)
    assert "shop/orders" in str(info.value)
    assert info.value.hint
    assert contents(outside) == {"one": "1", "notes": "theirs"}


def test_a_repository_that_a_later_run_wrote_to_is_not_removed(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    commit(outside, an_order("generate", "run-2"), two="2")
    with pytest.raises(RepositoryChangedError, match=r"has commit [0-9a-f]{12} of run-2"):
        remove(outside)
    assert contents(outside) == {"one": "1", "two": "2"}


def test_a_repository_that_is_not_ours_is_not_removed(outside: Outside) -> None:
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryChangedError, match="not made by the factory"):
        remove(outside)
    assert contents(outside) == {"notes": "theirs"}


def test_nothing_is_removed_for_another_tenant(outside: Outside) -> None:
    ensure_repository(outside)
    removed = outside.host.remove_repository(
        "globex", "shop", "orders", effect_key="run-1:generate", runs=OURS
    )
    assert not removed
    assert is_there(outside)


@pytest.mark.parametrize("name", ["..", "../orders", "a/b", ""])
def test_a_name_that_leaves_its_folder_is_refused(outside: Outside, name: str) -> None:
    ensure_repository(outside)
    with pytest.raises(InputError):
        outside.host.remove_repository("acme", "shop", name, effect_key="k", runs=OURS)
    assert is_there(outside)


def test_of_many_who_remove_it_at_once_nobody_is_told_of_trouble(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    with ThreadPoolExecutor(4) as pool:
        removing = [pool.submit(remove, outside) for _ in range(8)]
    removed = [one.result() for one in removing]
    assert any(removed)
    assert not is_there(outside)


def test_a_commit_that_comes_while_it_is_removed_is_in_it_or_refused(outside: Outside) -> None:
    """Never made and lost: who commits for another run keeps the repository, or is told."""
    for number in range(4):
        run = f"run-9{number}"
        ensure_repository(outside)
        commit(outside, an_order("generate"), one="1")
        with ThreadPoolExecutor(2) as pool:
            removing = pool.submit(remove, outside)
            writing = pool.submit(commit, outside, an_order("late", run), two="2")
        if writing.exception() is None:
            assert isinstance(removing.exception(), RepositoryChangedError)
            assert contents(outside)["two"] == "2"
            assert remove(outside, runs=OURS | {run})
        else:
            assert isinstance(writing.exception(), FactoryError)
            assert removing.result()
            assert not is_there(outside)


# --- taking commits back


def test_the_files_of_a_commit_become_what_they_were_before_it(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1", two="2")
    made = commit(outside, an_order("apply", follows=("generate",)), two="22", three="3")
    taken = revert(outside, made)
    assert taken is not None
    assert (taken.created, taken.sha != made.sha) == (True, True)
    assert contents(outside) == {"one": "1", "two": "2"}
    assert len(outside.messages("orders")) == 3
    assert f"Factory-Undoes: {made.sha}" in outside.messages("orders")[-1]


def test_a_commit_is_taken_back_once(outside: Outside) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate"), one="1")
    taken = revert(outside, made)
    assert taken is not None
    commit(outside, an_order("again", "run-2"), one="1")
    assert revert(outside, made) == replace(taken, created=False)
    assert contents(outside) == {"one": "1"}
    naming = (("Factory-Run", "run-1u"), ("Factory-Step", "undo-generate"))
    assert outside.host.find_commit("acme", "shop", "orders", naming) == replace(
        taken, created=False
    )


def test_commits_are_taken_back_from_the_last_to_the_first(outside: Outside) -> None:
    ensure_repository(outside)
    first = commit(outside, an_order("generate"), one="1")
    second = commit(outside, an_order("apply", follows=("generate",)), one="11")
    with pytest.raises(RepositoryChangedError, match=r"another one, since commit [0-9a-f]{7} of"):
        revert(outside, first)
    assert contents(outside) == {"one": "11"}
    revert(outside, second, "undo-apply")
    revert(outside, first)
    assert contents(outside) == {}


def test_what_people_added_stays_and_what_they_changed_is_not_touched(outside: Outside) -> None:
    ensure_repository(outside)
    first = commit(outside, an_order("generate"), one="1")
    second = commit(outside, an_order("apply"), two="2", three="3")
    outside.push("orders", TreeFile("notes", b"theirs"), TreeFile("two", b"theirs"))
    with pytest.raises(RepositoryChangedError, match=r"has another two, since commit .* of Ann"):
        revert(outside, second, "undo-apply")
    assert contents(outside) == {"one": "1", "two": "theirs", "three": "3", "notes": "theirs"}
    revert(outside, first)
    assert contents(outside) == {"two": "theirs", "three": "3", "notes": "theirs"}


def test_a_file_that_is_as_before_already_is_let_be(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    made = commit(outside, an_order("apply", follows=("generate",)), one="11", two="2")
    outside.push("orders", TreeFile("one", b"1"))
    assert revert(outside, made) is not None
    assert contents(outside) == {"one": "1"}


def test_a_file_that_two_steps_wrote_alike_goes_with_the_first_of_them(outside: Outside) -> None:
    ensure_repository(outside)
    left = commit(outside, an_order("left"), shared="same")
    right = commit(outside, an_order("right"), shared="same")
    revert(outside, right, "undo-right")
    assert contents(outside) == {"shared": "same"}
    revert(outside, left, "undo-left")
    assert contents(outside) == {}


def test_executables_links_and_odd_names_come_back(outside: Outside) -> None:
    ensure_repository(outside)
    files = [
        TreeFile("run.sh", b"#!/bin/sh\n", executable=True),
        TreeFile("docs/latest", b"", link="../run.sh"),
        TreeFile('a "quoted" näme/with\'quote', b"\0\xff\r\n"),
    ]
    outside.host.ensure_commit("acme", an_order("generate"), files)
    others = [TreeFile(file.path, b"other") for file in files]
    made = outside.host.ensure_commit("acme", an_order("apply", follows=("generate",)), others)
    revert(outside, made)
    assert outside.files("orders") == {file.path: file for file in files}


def test_what_is_gone_needs_no_taking_back(outside: Outside) -> None:
    missing = Commit("0" * 40, "", 0, created=False)
    assert revert(outside, missing) is None
    ensure_repository(outside)
    assert revert(outside, missing) is None
    made = commit(outside, an_order("generate"), one="1")
    assert revert(outside, missing) is None
    remove(outside)
    assert revert(outside, made) is None


def test_a_commit_of_a_person_is_never_taken_back(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryChangedError, match="of Ann"):
        revert(outside, Commit(outside.head("orders"), "", 0, created=False))
    assert contents(outside) == {"one": "1", "notes": "theirs"}


def test_those_who_take_back_one_commit_at_once_make_one_commit(outside: Outside) -> None:
    ensure_repository(outside)
    made = [commit(outside, an_order(f"step-{n}"), **{f"file{n}": "x"}) for n in range(3)]

    def take(number: int) -> Commit | None:
        return revert(outside, made[number % 3], f"undo-{number % 3}")

    with ThreadPoolExecutor(4) as pool:
        taken = [one for one in pool.map(take, range(9)) if one is not None]
    assert sum(one.created for one in taken) == len({one.sha for one in taken}) == 3
    assert contents(outside) == {}
