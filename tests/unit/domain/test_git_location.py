"""Where a template lies in git: one spelling, and nothing that git could take for something else."""

from __future__ import annotations

import pytest

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.git_location import GitLocation, parse_git_location
from factory_runtime.domain.publication import newest_first
from tests.builders import a_publication

SECRET = "c4nary-" + "0" * 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git+https://h.example/o/r@v1.2.0", GitLocation("https://h.example/o/r", "v1.2.0")),
        ("git+https://H.example:8443/o/r.git@feature/x", GitLocation("https://h.example:8443/o/r.git", "feature/x")),
        ("git+https://h.example/o/p%20q/_git/r@main#subdirectory=a/b", GitLocation("https://h.example/o/p%20q/_git/r", "main", "a/b")),
        ("git+http://127.0.0.1:80/r@v1#subdirectory=a/", GitLocation("http://127.0.0.1:80/r", "v1", "a")),
    ],
)  # fmt: skip
def test_a_location_is_a_repository_a_ref_and_a_folder(text: str, expected: GitLocation) -> None:
    assert parse_git_location(text) == expected
    assert parse_git_location(text).origin.startswith("git+http")


@pytest.mark.parametrize(
    "text",
    [
        "git+file:///srv/r@v1",
        "git+ssh://h.example/r@v1",
        "git+ext::sh -c evil@v1",
        "https://h.example/r@v1",
        "git+https://h.example/r",
        "git+https://h.example/r@",
        "git+https:///r@v1",
        "git+https://h.example:0/r@v1",
        "git+https://h.example:x/r@v1",
        "git+https://h.example/@v1",
        "git+https://h.example/../r@v1",
        "git+https://h.example/a//r@v1",
        "git+https://h.example/r?x=1@v1",
        "git+https://h.example/r@v1?x=1",
        "git+https://h.example/r@v1#egg=x",
        "git+https://h.example/r@v1#subdirectory=",
        "git+https://h.example/r@v1#subdirectory=../x",
        "git+https://h.example/r@v1#subdirectory=a/.git",
        "git+https://h.example/r@--upload-pack=touch",
        "git+https://h.example/r@-o",
        "git+https://h.example/r@a..b",
        "git+https://h.example/r@a:b",
        "git+https://h.example/r@+main",
        "git+https://h.example/r@main^{}",
        "git+https://h.example/r@a@{1}",
        "git+https://h.example/r@x.lock",
        "git+https://h.example/r@a/../b",
        "git+https://h.example/r@refs/*",
        "git+https://h.example/r@v1\n",
        "git+https://h.example/r@" + "a" * 300,
        "git+https://[::1/r@v1",
        "git+https://ex\u00e4mple/r@v1",
    ],
)  # fmt: skip
def test_what_is_no_such_location_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_git_location(text)


@pytest.mark.parametrize("user", [f"ann:{SECRET}", f":{SECRET}", SECRET])
def test_a_name_or_password_is_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_git_location(f"git+https://{user}@h.example/r@v1")
    assert SECRET not in refused.value.explain()


def test_a_whole_commit_id_is_one_that_nobody_can_move() -> None:
    assert parse_git_location(f"git+https://h.example/r@{'a' * 40}").is_commit
    assert not parse_git_location("git+https://h.example/r@abc1234").is_commit


def test_versions_are_compared_as_numbers_and_releases_come_first() -> None:
    versions = ["1.9.0", "2.0.0-rc.1", "1.10.0", "1.0.0-alpha.beta", "2.0.0-rc.2"]
    sorted_ = newest_first(a_publication(version=version) for version in versions)
    assert [one.version for one in sorted_] == [
        "1.10.0", "1.9.0", "2.0.0-rc.2", "2.0.0-rc.1", "1.0.0-alpha.beta",
    ]  # fmt: skip
