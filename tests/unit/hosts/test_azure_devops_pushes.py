"""Pushes to Azure DevOps: what is sent, and what the host may say of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    HostRejectedError,
    NotFoundError,
)
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops import remote
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.errors import TurnedDownError
from tests.forge import Forge
from tests.git_hosts import AzureOutside, an_order, commit, contents, ensure_repository

PROJECT = "acme-shop"
OFFERED = {"Content-Type": "application/x-git-receive-pack-advertisement"}
REPORT = {"Content-Type": "application/x-git-receive-pack-result"}


@pytest.fixture
def outside(tmp_path: Path, forge: Forge) -> AzureOutside:
    return AzureOutside(tmp_path, forge)


def offer_of(forge: Forge) -> bytes:
    """What the host says just now before it is pushed to."""
    url = f"{forge.git_url(PROJECT, 'orders')}/info/refs?service=git-receive-pack"
    return httpx.get(url, auth=("", forge.add_token())).content


def late_offer(outside: AzureOutside) -> bytes:
    """What the host said before another machine pushed, which we do not know of."""
    ensure_repository(outside)
    here = outside.host
    commit(outside, an_order("generate"), one="1")
    late = offer_of(outside.forge)
    commit(outside.elsewhere(), an_order("apply"), two="2")
    outside.host = here
    return late


def packet(body: bytes) -> bytes:
    return b"%04x" % (len(body) + 4) + body


def reported(*lines: bytes) -> bytes:
    """What the host says of a push, in its band."""
    return packet(b"\1" + b"".join(map(packet, lines)) + b"0000") + b"0000"


def test_a_large_one_arrives_whole(outside: AzureOutside) -> None:
    ensure_repository(outside)
    large = os.urandom(3_000_000)  # does not pack
    files = [TreeFile("large", large), TreeFile("run", b"#!/bin/sh\n", executable=True)]
    made = outside.host.ensure_commit("acme", an_order("generate"), files)
    bare = outside.bare("orders")
    shown = subprocess.run(
        ["git", "-C", bare, "show", f"{made.sha}:large"], check=True, capture_output=True
    )
    assert shown.stdout == large
    assert outside.git("fsck", "--strict", cwd=bare) == ""


@pytest.mark.parametrize(
    ("status", "error"),
    [(413, HostRejectedError), (429, HostBusyError), (503, HostBusyError), (404, NotFoundError)],
)
@pytest.mark.parametrize("asked", ["git.push.refs", "git.push"])
def test_one_that_is_not_taken_says_why_and_is_made_once_later(
    outside: AzureOutside, forge: Forge, asked: str, status: int, error: type[FactoryError]
) -> None:
    ensure_repository(outside)
    forge.answer(asked, status, b"not now", {"Content-Type": "text/plain"})
    with pytest.raises(error):
        commit(outside, an_order("generate"), one="1")
    assert commit(outside, an_order("generate"), one="1").created
    assert not commit(outside.elsewhere(), an_order("generate"), one="1").created
    assert contents(outside) == {"one": "1"}


def test_a_wait_that_a_host_asks_for_at_a_push_is_told(outside: AzureOutside, forge: Forge) -> None:
    ensure_repository(outside)
    forge.answer("git.push", 429, b"", {"Retry-After": "60"})
    with pytest.raises(HostBusyError) as told:
        commit(outside, an_order("generate"), one="1")
    assert told.value.retry_after == timedelta(seconds=60)


@pytest.mark.parametrize("asked", ["git.push.refs", "git.push"])
@pytest.mark.parametrize("said", [b"", b"<html></html>", b"0000", b"zzzz", b"0020cut"])
def test_an_answer_that_is_none_of_gits_is_asked_for_again(
    outside: AzureOutside, forge: Forge, asked: str, said: bytes
) -> None:
    ensure_repository(outside)
    forge.answer(asked, 200, said, {"Content-Type": "application/octet-stream"})
    with pytest.raises(HostBusyError):
        commit(outside, an_order("generate"), one="1")
    made = commit(outside, an_order("generate"), one="1")
    assert made.created
    assert outside.git("rev-list", "main", cwd=outside.bare("orders")).split() == [made.sha]


@pytest.mark.parametrize(
    "said", [b"ng refs/heads/main", b"ng refs/heads/main no", b"ng refs/heads/main \xff"]
)
def test_one_that_is_refused_in_any_words_is_not_taken_for_made(
    outside: AzureOutside, forge: Forge, said: bytes
) -> None:
    ensure_repository(outside)
    forge.answer("git.push", 200, reported(b"unpack ok", said), REPORT)
    with pytest.raises(TurnedDownError, match="refuses the push"):
        commit(outside, an_order("generate"), one="1")
    assert commit(outside, an_order("generate"), one="1").created


def test_a_race_that_the_host_has_no_known_words_for_is_seen(
    outside: AzureOutside, forge: Forge
) -> None:
    forge.answer("git.push.refs", 200, late_offer(outside), OFFERED)
    forge.answer("git.push", 200, reported(b"unpack ok", b"ng refs/heads/main nope"), REPORT)
    assert commit(outside, an_order("document"), three="3").created
    assert contents(outside) == {"one": "1", "two": "2", "three": "3"}


def test_a_host_that_tells_late_of_anothers_push_loses_nothing(
    outside: AzureOutside, forge: Forge
) -> None:
    late, fetched = late_offer(outside), forge.count("git.fetch")
    forge.answer("git.push.refs", 200, late, OFFERED, times=20)
    assert commit(outside, an_order("document"), three="3").created
    assert forge.count("git.fetch") > fetched, "its first push was late"
    assert not commit(outside, an_order("apply"), two="2").created
    assert contents(outside) == {"one": "1", "two": "2", "three": "3"}


def test_a_branch_that_was_set_back_and_collected_is_built_upon_anew(
    outside: AzureOutside, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_repository(outside)
    first = commit(outside, an_order("generate"), one="1")
    commit(outside, an_order("apply"), two="2")
    bare = forge.repository(PROJECT, "orders")
    push = remote.Remote.push

    def late(self: remote.Remote, *where: Any) -> None:
        monkeypatch.undo()
        bare.git("update-ref", "refs/heads/main", first.sha)
        bare.git("gc", "--prune=now", "--quiet")
        push(self, *where)

    monkeypatch.setattr(remote.Remote, "push", late)
    assert commit(outside, an_order("document"), three="3").created
    assert contents(outside) == {"one": "1", "three": "3"}


@pytest.mark.parametrize("asked", ["git.push.refs", "git.push"])
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("TF401019: The Git repository with name or identifier x does not exist", NotFoundError),
        ("TF401027: You need the Git 'GenericContribute' permission", TurnedDownError),
        ("TF400898: An Internal Error Occurred.", HostBusyError),
    ],
)
def test_what_the_protocol_itself_says_went_wrong_is_understood(
    outside: AzureOutside, forge: Forge, asked: str, words: str, error: type[FactoryError]
) -> None:
    ensure_repository(outside)
    begun = b"001f# service=git-receive-pack\n0000" if asked == "git.push.refs" else b""
    forge.answer(asked, 200, begun + packet(f"ERR {words}".encode()), REPORT)
    with pytest.raises(error):
        commit(outside, an_order("generate"), one="1")


@pytest.mark.parametrize("padding", ["", "x" * 280])
def test_the_token_is_in_nothing_that_is_told_of_one(
    outside: AzureOutside, forge: Forge, padding: str
) -> None:
    ensure_repository(outside)
    token = outside.access.tokens()
    said = f"{padding} Authorization: {token.header} {token.text}".encode()
    begun = b"001f# service=git-receive-pack\n0000"
    told: list[str] = []
    for asked, body in (
        ("git.push.refs", begun + packet(b"ERR " + said)),
        ("git.push", reported(b"unpack ok", b"ng refs/heads/main " + said)),
        ("git.push", reported(b"unpack " + said)),
        ("git.push", packet(b"\3" + said)),
    ):
        forge.answer(asked, 200, body, REPORT)
        with pytest.raises(FactoryError) as failed:
            commit(outside, an_order("generate"), one="1")
        told.append(failed.value.explain())
    parts = (token.text[:12], token.header.removeprefix("Basic ")[:12])
    assert not [words for words in told if any(part in words for part in parts)]


def test_what_the_host_has_is_not_sent_again(
    outside: AzureOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    speak = AzureDevOpsClient.speak_git

    def spied(self: AzureDevOpsClient, method: str, url: str, *rest: Any) -> httpx.Response:
        sizes.extend(int(headers["Content-Length"]) for headers in rest[:1])
        return speak(self, method, url, *rest)

    monkeypatch.setattr(AzureDevOpsClient, "speak_git", spied)
    ensure_repository(outside)
    large = [TreeFile("large", os.urandom(100_000))]
    outside.host.ensure_commit("acme", an_order("generate"), large)
    commit(outside, an_order("apply"), two="2")
    mark, first, second = sizes
    assert first > 100_000
    assert max(mark, second) < 2_000


@pytest.mark.parametrize("is_offered", [True, False])
def test_deltas_are_named_as_the_host_understands_them(
    outside: AzureOutside, forge: Forge, monkeypatch: pytest.MonkeyPatch, is_offered: bool
) -> None:
    ensure_repository(outside)
    offered = offer_of(forge)
    assert b" ofs-delta" in offered
    if not is_offered:
        forge.answer("git.push.refs", 200, offered.replace(b" ofs-delta", b" " * 10), OFFERED)
    ran: list[str] = []
    run = remote.git_process

    def spied(place: Path, arguments: Sequence[str], **rest: Any) -> Any:
        ran.extend(arguments)
        return run(place, arguments, **rest)

    monkeypatch.setattr(remote, "git_process", spied)
    assert commit(outside, an_order("generate"), one="1").created
    assert "pack-objects" in ran
    assert ("--delta-base-offset" in ran) == is_offered


def test_who_takes_one_too_slowly_is_left(
    outside: AzureOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_repository(outside)
    monkeypatch.setattr(remote, "TIME_LIMIT", timedelta(0))
    with pytest.raises(HostBusyError, match="too slowly"):
        commit(outside, an_order("generate"), one="1")
    monkeypatch.undo()
    assert commit(outside, an_order("generate"), one="1").created
