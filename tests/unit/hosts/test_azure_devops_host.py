"""The host of Azure DevOps where things go wrong, and where a branch takes no pushes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    HostRejectedError,
    InputError,
    LayerConflictError,
    NotFoundError,
    RepositoryChangedError,
    RepositoryTakenError,
)
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops import mirror, open_azure_devops, opening, remote
from factory_runtime.hosts.azure_devops.access import Tokens, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.hosts.azure_devops.errors import TurnedDownError
from factory_runtime.ports import Commit, PullRequest, PullRequestStatus
from tests.forge import Forge
from tests.forge.control import forge_elsewhere
from tests.git_hosts import AzureOutside, an_order, commit, contents, ensure_repository

PROJECT = "acme-shop"


@pytest.fixture
def outside(tmp_path: Path, forge: Forge) -> AzureOutside:
    return AzureOutside(tmp_path, forge)


def with_token(outside: AzureOutside, token: str) -> AzureOutside:
    outside.host = outside.a_host(outside.folder / "mirrors", token)
    return outside


def protected(outside: AzureOutside) -> None:
    """A repository whose branch takes no pushes any more, with what an earlier run has made."""
    ensure_repository(outside)
    commit(outside, an_order("generate", "run-0"), one="1")
    outside.forge.protect(PROJECT)


def request_of(made: Commit | None) -> PullRequest:
    """The pull request that a commit waits in."""
    assert made is not None
    assert made.pull_request is not None
    return made.pull_request


OFFERED = {"Content-Type": "application/x-git-receive-pack-advertisement"}


def offer_of(forge: Forge) -> bytes:
    """What the host says just now before it is pushed to."""
    url = f"{forge.git_url(PROJECT, 'orders')}/info/refs?service=git-receive-pack"
    return httpx.get(url, auth=("", forge.add_token())).content


def find(outside: AzureOutside, step: str, run: str = "run-1") -> Commit | None:
    naming = (("Factory-Run", run), ("Factory-Step", step))
    return outside.host.find_commit("acme", "shop", "orders", naming)


# --- tokens


@pytest.mark.parametrize("redirects", [False, True])
def test_a_wrong_token_is_told_from_a_host_that_is_away(
    outside: AzureOutside, forge: Forge, redirects: bool
) -> None:
    forge.redirect_strangers(redirects)
    with pytest.raises(HostRejectedError, match="does not accept the token") as told:
        ensure_repository(with_token(outside, "wrong-token-123"))
    assert "wrong-token-123" not in told.value.explain()


def test_a_token_that_expires_on_the_way_is_named_and_a_new_one_goes_on(
    outside: AzureOutside, forge: Forge
) -> None:
    token = forge.add_token()
    with_token(outside, token)
    ensure_repository(outside)
    forge.expire(token)
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        commit(outside, an_order("generate"), one="1")
    with_token(outside, forge.add_token())
    assert commit(outside, an_order("generate"), one="1").created
    assert forge.repositories(PROJECT) == ["orders"]


@pytest.mark.parametrize("asked", ["git.fetch.refs", "git.push.refs"])
def test_git_too_tells_of_a_token_that_is_not_accepted(
    outside: AzureOutside, forge: Forge, asked: str
) -> None:
    ensure_repository(outside)
    forge.answer(asked, 401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        commit(outside.elsewhere(), an_order("generate"), one="1")


@pytest.mark.parametrize(
    ("permissions", "missing"),
    [
        (("GenericRead",), "CreateRepository"),
        (("GenericRead", "CreateRepository"), "GenericContribute"),
        (("GenericRead", "CreateRepository", "GenericContribute"), "RenameRepository"),
    ],
)
def test_the_permission_that_is_missing_is_named_and_what_was_begun_is_gone_on_with(
    outside: AzureOutside, forge: Forge, permissions: tuple[str, ...], missing: str
) -> None:
    with_token(outside, forge.add_token(*permissions))
    with pytest.raises(TurnedDownError, match=missing) as told:
        ensure_repository(outside)
    assert told.value.permission == missing
    assert outside.host.find_adoptable("acme", "shop", "orders") is None
    assert ensure_repository(with_token(outside, forge.add_token())).created
    assert forge.repositories(PROJECT) == ["orders"]


def test_the_token_stands_in_no_file(outside: AzureOutside, forge: Forge) -> None:
    token = forge.add_token()
    with_token(outside, token)
    ensure_repository(outside)
    commit(outside, an_order("generate"), one="1")
    written = [file for file in (outside.folder / "mirrors").rglob("*") if file.is_file()]
    assert written
    assert not any(token.encode() in file.read_bytes() for file in written)


# --- what is asked for


def test_a_project_that_is_not_there_is_named(outside: AzureOutside) -> None:
    with pytest.raises(InputError, match="has no project acme-missing"):
        outside.host.ensure_repository("acme", "missing", "orders", effect_key="k", description="")


def test_a_repository_of_that_name_in_another_case_is_not_ours(
    outside: AzureOutside, forge: Forge
) -> None:
    forge.add_repository(PROJECT, "Orders")
    with pytest.raises(RepositoryTakenError):
        ensure_repository(outside)
    assert forge.repositories(PROJECT) == ["Orders"]


def test_a_repository_whose_name_was_taken_meanwhile_leaves_nothing_behind(
    outside: AzureOutside, forge: Forge
) -> None:
    forge.cut("repositories.update", "before")
    with pytest.raises(HostBusyError):
        ensure_repository(outside)
    outside.push("orders", TreeFile("notes", b"theirs"))
    with pytest.raises(RepositoryTakenError):
        ensure_repository(outside)
    assert forge.repositories(PROJECT) == ["orders"]
    assert contents(outside) == {"notes": "theirs"}


def test_a_host_that_throttles_is_not_asked_again_until_it_wants_to_be(
    outside: AzureOutside, forge: Forge
) -> None:
    ensure_repository(outside)
    forge.throttle(seconds=60)
    with pytest.raises(HostBusyError) as told:
        commit(outside, an_order("generate"), one="1")
    assert told.value.retry_after == timedelta(seconds=60)
    asked = len(forge.seen)
    with pytest.raises(HostBusyError, match="asks us to wait"):
        commit(outside, an_order("generate"), one="1")
    assert len(forge.seen) == asked
    assert commit(outside.elsewhere(), an_order("generate"), one="1").created


def test_a_good_answer_that_asks_us_to_wait_holds_git_back_too(
    outside: AzureOutside, forge: Forge
) -> None:
    ensure_repository(outside)
    forge.slow_down("refs.*", seconds=60)
    with pytest.raises(HostBusyError, match="asks us to wait"):
        commit(outside, an_order("generate"), one="1")
    assert forge.count("git.push") == 1, "of the mark alone"


# --- pushes


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


REPORT = {"Content-Type": "application/x-git-receive-pack-result"}


def packet(body: bytes) -> bytes:
    return b"%04x" % (len(body) + 4) + body


def reported(*lines: bytes) -> bytes:
    """What the host says of a push, in its band."""
    return packet(b"\1" + b"".join(map(packet, lines)) + b"0000") + b"0000"


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
    ensure_repository(outside)
    here = outside.host
    commit(outside, an_order("generate"), one="1")
    late = offer_of(forge)
    commit(outside.elsewhere(), an_order("apply"), two="2")
    outside.host = here
    forge.answer("git.push.refs", 200, late, OFFERED)
    forge.answer("git.push", 200, reported(b"unpack ok", b"ng refs/heads/main nope"), REPORT)
    assert commit(outside, an_order("document"), three="3").created
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


# --- the copy


def test_one_that_another_job_is_just_making_is_not_removed(
    outside: AzureOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(place: Path, *, ignore_errors: bool) -> None:
        pytest.fail(f"{place} was not there when it was looked for")

    ensure_repository(outside)
    monkeypatch.setattr(mirror, "shutil", SimpleNamespace(rmtree=remove))
    assert commit(outside.elsewhere(), an_order("generate"), one="1").created


def test_what_it_knows_of_its_own_pushes_is_not_fetched(
    outside: AzureOutside, forge: Forge
) -> None:
    ensure_repository(outside)
    for step in ("generate", "apply", "document"):
        assert commit(outside, an_order(step), **{step: "1"}).created
    assert not commit(outside, an_order("apply"), apply="1").created
    assert (forge.count("git.fetch"), forge.count("tags.get")) == (0, 1)


def test_what_another_machine_has_pushed_is_fetched(outside: AzureOutside, forge: Forge) -> None:
    ensure_repository(outside)
    here = outside.host
    commit(outside, an_order("generate"), one="1")
    commit(outside.elsewhere(), an_order("apply"), two="2")
    outside.host = here
    assert not commit(outside, an_order("apply"), two="2").created
    assert commit(outside, an_order("document"), three="3").created
    assert contents(outside) == {"one": "1", "two": "2", "three": "3"}
    assert forge.count("git.fetch") > 0


def test_a_host_that_tells_late_of_anothers_push_loses_nothing(
    outside: AzureOutside, forge: Forge
) -> None:
    ensure_repository(outside)
    here = outside.host
    commit(outside, an_order("generate"), one="1")
    late = offer_of(forge)
    commit(outside.elsewhere(), an_order("apply"), two="2")
    outside.host, fetched = here, forge.count("git.fetch")
    forge.answer("git.push.refs", 200, late, OFFERED, times=20)
    assert commit(outside, an_order("document"), three="3").created
    assert forge.count("git.fetch") > fetched, "its first push was late"
    assert not commit(outside, an_order("apply"), two="2").created
    assert contents(outside) == {"one": "1", "two": "2", "three": "3"}


def test_whoever_was_killed_between_the_push_and_its_note_fetches(
    outside: AzureOutside, forge: Forge
) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate"), one="1")
    (copy,) = (outside.folder / "mirrors").glob("*/shop/orders.git")
    outside.git("update-ref", "-d", "refs/remotes/origin/main", cwd=copy)
    again = commit(outside, an_order("generate"), one="1")
    assert (again.sha, again.created) == (made.sha, False)
    assert forge.count("git.fetch") > 0


@pytest.mark.parametrize("damage", ["lost", "emptied", "objects gone", "nonsense"])
def test_the_copy_may_be_lost_or_damaged(outside: AzureOutside, damage: str) -> None:
    ensure_repository(outside)
    made = commit(outside, an_order("generate"), one="1")
    (copy,) = (outside.folder / "mirrors").glob("*/shop/orders.git")
    match damage:
        case "lost":
            shutil.rmtree(copy)
        case "emptied":
            shutil.rmtree(copy)
            copy.mkdir()
        case "objects gone":
            shutil.rmtree(copy / "objects" / "pack")
            (copy / "objects" / "pack").mkdir()
        case _:
            (copy / "HEAD").write_text("nonsense")
    for _ in range(3):
        try:
            again = commit(outside, an_order("generate"), one="1")
            break
        except HostBusyError:
            continue
    else:
        pytest.fail("it stays damaged")
    assert (again.sha, again.created) == (made.sha, False)
    assert commit(outside, an_order("apply"), two="2").created
    assert contents(outside) == {"one": "1", "two": "2"}


def test_another_machine_sees_the_same_conflicts(outside: AzureOutside) -> None:
    ensure_repository(outside)
    commit(outside, an_order("left"), shared="left")
    with pytest.raises(LayerConflictError, match="right and left"):
        commit(outside.elsewhere(), an_order("right"), shared="right")


# --- branches that take no pushes


def test_where_a_branch_takes_no_pushes_a_run_has_one_pull_request(
    outside: AzureOutside, forge: Forge
) -> None:
    protected(outside)
    made = commit(outside, an_order("generate"), two="2")
    request = request_of(made)
    assert (request.created, request.branch, request.target) == (True, "factory/run-1", "main")
    more = commit(outside, an_order("apply", follows=("generate",)), two="22")
    assert request_of(more).id == request.id
    (only,) = forge.pull_requests(PROJECT)
    assert "Factory-Effect: run-1" in only["description"]
    assert contents(outside) == {"one": "1"}
    again = commit(outside.elsewhere(), an_order("generate"), two="2")
    assert (again.sha, again.created) == (made.sha, False)
    found = find(outside, "apply")
    assert found is not None
    assert (found.sha, found.pull_request) == (more.sha, again.pull_request)


@pytest.mark.parametrize("strategy", ["noFastForward", "squash"])
def test_what_was_merged_is_found_by_its_pull_request_and_more_gets_another(
    outside: AzureOutside, forge: Forge, strategy: str
) -> None:
    protected(outside)
    made = commit(outside, an_order("generate"), two="2")
    forge.complete_pull_request(int(request_of(made).id), strategy, deletes_branch=True)
    found = find(outside.elsewhere(), "generate")
    assert found is not None
    assert found.sha == made.sha
    if found.pull_request is not None:
        assert found.pull_request.status is PullRequestStatus.MERGED
    assert not commit(outside, an_order("generate"), two="2").created
    more = commit(outside, an_order("apply", follows=("generate",)), three="3")
    assert more.created
    assert request_of(more).id != request_of(made).id
    assert contents(outside) == {"one": "1", "two": "2"}
    # A later run adopts it, though a person has merged.
    assert not ensure_repository(outside, run="run-2").created


def test_a_pull_request_that_was_abandoned_is_not_gone_round(outside: AzureOutside) -> None:
    protected(outside)
    made = commit(outside, an_order("generate"), two="2")
    delivery = AzureDevOpsDelivery(AzureDevOpsClient(outside.access))
    delivery.abandon_pull_request("acme", "shop", "orders", request_of(made).id)
    assert find(outside, "apply") is None
    assert request_of(find(outside, "generate")).status is PullRequestStatus.ABANDONED
    with pytest.raises(HostRejectedError, match="was abandoned"):
        commit(outside, an_order("apply"), three="3")


def test_what_was_squashed_is_left_for_people_to_take_back(
    outside: AzureOutside, forge: Forge
) -> None:
    protected(outside)
    made = commit(outside, an_order("generate"), two="2")
    forge.complete_pull_request(int(request_of(made).id), "squash")
    with pytest.raises(RepositoryChangedError, match="two stands"):
        outside.host.revert_commit("acme", an_order("undo", "run-1u"), made.sha)
    assert contents(outside) == {"one": "1", "two": "2"}


def test_a_commit_that_waits_is_taken_back_where_it_waits(outside: AzureOutside) -> None:
    protected(outside)
    made = commit(outside, an_order("generate"), two="2")
    taken = outside.host.revert_commit("acme", an_order("undo", "run-1u"), made.sha)
    assert taken is not None
    assert request_of(taken).id == request_of(made).id
    again = outside.host.revert_commit("acme", an_order("undo", "run-1u"), made.sha)
    assert again is not None
    assert (again.sha, again.created) == (taken.sha, False)


# --- opened by a block


def test_a_block_opens_it(outside: AzureOutside, forge: Forge) -> None:
    fields = {"url": forge.url, "token": forge.add_token(), "projects": "{tenant}-{project}"}
    host = open_azure_devops(fields, outside.folder / "mirrors", Secrets())
    made = host.ensure_repository("acme", "shop", "orders", effect_key="k", description="")
    assert made.url == f"{forge.url}/acme-shop/_git/orders"


def test_no_token_is_used_before_it_is_hidden(
    outside: AzureOutside, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a vault, whose block does not hold it."""
    token, secrets = forge.add_token(), Secrets()

    def of_a_vault(fields: object) -> Tokens:
        del fields
        return personal_token(token)

    monkeypatch.setattr(opening, "_tokens", of_a_vault)
    host = open_azure_devops({"url": forge.url}, outside.folder / "mirrors", secrets)
    assert token in secrets.hide(token)
    host.find_repository("acme", "shop", "orders")
    assert token not in secrets.hide(f"it is {token}")


def test_over_tls_rest_and_git_trust_the_same_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forge_elsewhere(tmp_path / "forge", "--tls") as forge:
        fields = {"url": forge.url, "token": forge.call("add_token")}
        monkeypatch.setenv("SSL_CERT_FILE", str(forge.authority))
        host = open_azure_devops(fields, tmp_path / "mirrors", Secrets())
        assert host.ensure_repository(
            "acme", "shop", "orders", effect_key="k", description=""
        ).created
        assert host.ensure_commit("acme", an_order("generate"), [TreeFile("one", b"1")]).created


def test_a_block_that_does_not_say_who_we_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say who we are"):
        open_azure_devops({"url": "https://dev.azure.com/acme"}, tmp_path, Secrets())
