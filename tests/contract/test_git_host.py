"""What every git host does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostileTemplateError,
    InputError,
    LayerConflictError,
    NotFoundError,
    RepositoryTakenError,
)
from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports import Commit
from tests.git_hosts import Outside, an_order, commit, contents, ensure_repository

# --- repositories


def test_a_repository_is_made_once_and_found_again(outside: Outside) -> None:
    assert outside.host.find_repository("acme", "shop", "orders") is None
    made = ensure_repository(outside)
    again = ensure_repository(outside)
    assert (made.created, again.created) == (True, False)
    assert replace(again, created=True) == made
    assert outside.host.find_repository("acme", "shop", "orders") == again
    assert made.default_branch == "main"


def test_a_repository_says_which_job_made_it_to_those_who_adopt_it(outside: Outside) -> None:
    made = ensure_repository(outside, run="run-1")
    adopted = ensure_repository(outside, run="run-2")
    found = outside.host.find_repository("acme", "shop", "orders")
    assert found is not None
    assert {made.effect_key, adopted.effect_key, found.effect_key} == {"run-1:generate"}


def test_tenants_and_projects_have_repositories_of_their_own(outside: Outside) -> None:
    ensure_repository(outside)
    assert outside.host.find_repository("globex", "shop", "orders") is None
    assert outside.host.find_repository("acme", "other", "orders") is None
    assert outside.host.ensure_repository(
        "globex", "shop", "orders", effect_key="run-2:generate", description=""
    ).created


def test_a_later_run_adopts_the_repository_of_an_earlier_one(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), readme="one")
    assert not ensure_repository(outside, run="run-2").created
    commit(outside, an_order("generate", "run-2"), readme="two")
    assert contents(outside) == {"readme": "two"}
    assert len(outside.messages("orders")) == 2


def test_a_repository_that_people_have_committed_to_is_taken(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), readme="ours")
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryTakenError, match=r"commits of people, like [0-9a-f]{12}") as info:
        ensure_repository(outside, run="run-2")
    assert "another name or project" in str(info.value.hint)
    assert "another branch" in str(info.value.hint)


def test_a_repository_that_is_not_ours_is_taken(outside: Outside) -> None:
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryTakenError, match="shop/orders is taken"):
        ensure_repository(outside)
    assert outside.host.find_repository("acme", "shop", "orders") is None
    with pytest.raises(NotFoundError):
        commit(outside, an_order("generate"), readme="ours")
    assert contents(outside) == {"notes": "theirs"}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "-x", ".x", "x.", "Orders", "x.git", "x.lock", "a..b", "con",
     "nul.txt", "x\n", "x y", "é", "a" * 64, "x\0", "--upload-pack=x"],
)  # fmt: skip
def test_a_name_that_no_host_takes_is_refused(outside: Outside, name: str) -> None:
    with pytest.raises(InputError) as info:
        ensure_repository(outside, name=name)
    assert info.value.hint
    with pytest.raises(InputError):
        outside.host.find_repository("acme", "shop", name)


@pytest.mark.parametrize(("tenant", "project"), [("..", "shop"), ("acme", "../x"), ("A", "shop")])
def test_a_tenant_or_project_that_is_no_slug_is_refused(
    outside: Outside, tenant: str, project: str
) -> None:
    with pytest.raises(InputError):
        outside.host.ensure_repository(tenant, project, "x", effect_key="k", description="")


def test_concurrent_callers_make_one_repository(outside: Outside) -> None:
    def ensure(number: int) -> bool:
        return ensure_repository(outside, f"run-{number}").created

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(ensure, range(16)))
    assert sum(created) == 1


# --- commits


def test_a_commit_puts_its_files_beside_those_that_are_there(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1", two="2")
    made = commit(outside, an_order("apply", follows=("generate",)), two="22", three="3")
    assert (made.created, made.files) == (True, 2)
    assert contents(outside) == {"one": "1", "two": "22", "three": "3"}


def test_a_repeated_commit_is_made_once(outside: Outside) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate"), one="1")
    commit(outside, an_order("other"), two="2")
    again = commit(outside, an_order("generate"), one="changed meanwhile", three="3")
    assert again == replace(made, created=False)
    assert contents(outside) == {"one": "1", "two": "2"}
    assert len(outside.messages("orders")) == 2


def test_a_commit_is_found_by_its_two_trailers(outside: Outside) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("apply[a]"), one="1")
    find = outside.host.find_commit
    naming = (("Factory-Run", "run-1"), ("Factory-Step", "apply[a]"))
    assert find("acme", "shop", "orders", naming) == replace(made, created=False)
    for other in (("run-1", "apply"), ("run-1", "apply[b]"), ("run-11", "apply[a]")):
        wanted = (("Factory-Run", other[0]), ("Factory-Step", other[1]))
        assert find("acme", "shop", "orders", wanted) is None
    assert find("acme", "shop", "missing", naming) is None
    assert find("globex", "shop", "orders", naming) is None


def test_an_unchanged_tree_still_makes_its_commit(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    made = commit(outside, an_order("generate", "run-2"), one="1")
    nothing = commit(outside, an_order("nothing", "run-2"))
    assert (made.files, nothing.files) == (1, 0)
    assert len(outside.messages("orders")) == 3
    assert contents(outside) == {"one": "1"}


def test_executables_links_and_odd_names_are_kept(outside: Outside) -> None:
    ensure_repository(outside)
    files = [
        TreeFile("run.sh", b"#!/bin/sh\n", executable=True),
        TreeFile("docs/latest", b"", link="../run.sh"),
        TreeFile('a "quoted" näme/with\'quote', b"\0\xff\r\n"),
        TreeFile("empty", b""),
    ]
    outside.host.ensure_commit("acme", an_order("generate"), files)
    assert outside.files("orders") == {file.path: file for file in files}


def test_a_commit_needs_its_repository(outside: Outside) -> None:
    with pytest.raises(NotFoundError, match="shop/orders") as info:
        commit(outside, an_order("generate"), one="1")
    assert "needs" in str(info.value.hint)


def test_a_commit_goes_on_top_of_what_people_pushed(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    outside.push("orders", TreeFile("two", b"theirs"))
    commit(outside, an_order("apply"), three="3")
    assert contents(outside) == {"one": "1", "two": "theirs", "three": "3"}


def test_concurrent_commits_end_up_one_behind_the_other(outside: Outside) -> None:
    ensure_repository(outside)

    def make(number: int) -> Commit:
        step = f"apply[{number % 8}]"
        return commit(outside, an_order(step), **{f"file{number % 8}": step})

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(24)))
    assert sum(one.created for one in made) == 8
    assert len({one.sha for one in made}) == 8
    assert len(outside.messages("orders")) == 8
    assert contents(outside) == {f"file{n}": f"apply[{n}]" for n in range(8)}


# --- layers


def test_steps_that_do_not_wait_for_each_other_may_not_write_one_file(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left", follows=("generate",)), shared="left")
    with pytest.raises(LayerConflictError, match=r"right and left both write shared"):
        commit(outside, an_order("right", follows=("generate",)), own="1", shared="right")
    assert contents(outside) == {"shared": "left"}
    assert len(outside.messages("orders")) == 1


def test_a_step_may_write_over_the_steps_that_it_follows(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="left")
    commit(outside, an_order("right", follows=("left",)), shared="right")
    assert contents(outside) == {"shared": "right"}


def test_the_same_content_is_no_conflict(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="same")
    commit(outside, an_order("right"), shared="same")
    assert contents(outside) == {"shared": "same"}


def test_files_of_an_earlier_run_may_be_written_over(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="left")
    commit(outside, an_order("right", "run-2"), shared="right")
    assert contents(outside) == {"shared": "right"}


def test_a_file_written_without_change_is_written_all_the_same(outside: Outside) -> None:
    """Whichever of the two comes first, the conflict must be seen."""
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="left")
    commit(outside, an_order("left", "run-2"), shared="left")
    with pytest.raises(LayerConflictError, match="right and left"):
        commit(outside, an_order("right", "run-2"), shared="right")


def test_a_changed_mode_is_a_conflict_too(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="same")
    with pytest.raises(LayerConflictError):
        outside.host.ensure_commit(
            "acme", an_order("right"), [TreeFile("shared", b"same", executable=True)]
        )


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("x/y/z", "x/y")])
def test_a_file_and_a_folder_cannot_share_a_name(outside: Outside, first: str, second: str) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), **{first: "1"})
    with pytest.raises(LayerConflictError, match=r"folder|is a file"):
        commit(outside, an_order("right", follows=("left",)), **{second: "2"})
    with pytest.raises(LayerConflictError):
        commit(outside, an_order("both"), **{"n/m": "1", "n": "2"})
    assert contents(outside) == {first: "1"}


# --- hostile input


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", ".git/config", "a/.GIT/hooks/x", "a\nb", "", "./a", "a//b", "a\\b"]
)
def test_a_path_that_leaves_the_tree_is_refused(outside: Outside, path: str) -> None:
    ensure_repository(outside)
    with pytest.raises(HostileTemplateError):
        commit(outside, an_order("generate"), **{"fine": "1", path: "2"})
    commit(outside, an_order("generate"), fine="1")
    assert contents(outside) == {"fine": "1"}


FORGERIES = [
    "x\n\nFactory-Run: run-9\nFactory-Step: forged",
    "x\r\rFactory-Run: run-9\rFactory-Step: forged\r\n",
    "x\n---\ny",
    "x\n# ------------------------ >8 ------------------------\ny",
    "#\n# only a comment",
    "\0\x01",
    "",
]


@pytest.mark.parametrize("message", FORGERIES)
def test_a_hostile_message_forges_no_trailers_and_hides_none(
    outside: Outside, message: str
) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate", message=message), one="1")
    find = outside.host.find_commit
    forged = (("Factory-Run", "run-9"), ("Factory-Step", "forged"))
    assert find("acme", "shop", "orders", forged) is None
    assert commit(outside, an_order("generate", message=message), one="1").sha == made.sha
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"],
        input=outside.messages("orders")[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert parsed.stdout.splitlines() == [
        "Factory-Run: run-1",
        "Factory-Step: generate",
        "Factory-Template: t@1.0.0",
    ]


@pytest.mark.parametrize("step", ["a\nFactory-Run: run-9", "a\rb", "", " a", "a\u2028b", "a\0"])
def test_a_step_that_is_more_than_one_plain_line_is_refused(outside: Outside, step: str) -> None:
    ensure_repository(outside)
    with pytest.raises(InputError, match="trailer"):
        commit(outside, an_order(step), one="1")


@pytest.mark.parametrize("author", ["", "<>", "a <b@c> 1 +0000\ncommitter x", "\0", "x" * 9999])
def test_a_hostile_author_cannot_break_the_commit(outside: Outside, author: str) -> None:
    ensure_repository(outside)
    commit(outside, replace(an_order("generate"), author=author), one="1")
    assert contents(outside) == {"one": "1"}


def test_files_that_break_off_leave_the_branch_as_it_was(outside: Outside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")

    def broken() -> Iterator[TreeFile]:
        yield TreeFile("two", b"2")
        raise FactoryError("the source broke")

    with pytest.raises(FactoryError, match="the source broke"):
        outside.host.ensure_commit("acme", an_order("apply"), broken())
    assert contents(outside) == {"one": "1"}
    commit(outside, an_order("apply"), two="2")
    assert contents(outside) == {"one": "1", "two": "2"}
