"""The host of Azure DevOps where things go wrong, and where a branch takes no pushes."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from factory_runtime.domain.errors import (
    HostBusyError,
    HostRejectedError,
    InputError,
    LayerConflictError,
    RepositoryChangedError,
    RepositoryTakenError,
)
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops import mirror, open_azure_devops, opening
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
