"""The forge of the tests does what Azure DevOps does, and fails a test that asks for anything else."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.forge import Forge, forge_elsewhere, running_forge
from tests.forge.app import ROUTES
from tests.forge.shapes import wrong_with

V = {"api-version": "7.1"}


@pytest.fixture
def api(forge: Forge) -> Generator[httpx.Client]:
    with client(forge, forge.add_token()) as opened:
        yield opened


def client(forge: Forge, token: str) -> httpx.Client:
    return httpx.Client(base_url=forge.url, auth=("", token), params=V, trust_env=False)


def made(api: httpx.Client, name: str = "orders") -> dict[str, Any]:
    answer = api.post("/shop/_apis/git/repositories", json={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


def git(*arguments: str, at: Path, token: str = "", fails: bool = False) -> str:
    header = base64.b64encode(f":{token}".encode()).decode()
    done = subprocess.run(
        [
            "git",
            "-C",
            str(at),
            "-c",
            "user.name=Ann",
            "-c",
            "user.email=ann@example.com",
            "-c",
            "init.defaultBranch=main",
            *arguments,
        ],
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {header}",
        },
    )
    said = (done.stdout + done.stderr).decode()
    assert (done.returncode != 0) == fails, said
    return said


def work(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    git("init", "--quiet", at=place)
    git("commit", "--quiet", "--allow-empty", "-m", "First", at=place)
    return place


def test_what_is_pushed_is_seen_through_the_api(
    forge: Forge, api: httpx.Client, tmp_path: Path
) -> None:
    place, token, repo = work(tmp_path), forge.add_token(), made(api)
    assert "defaultBranch" not in repo
    git("push", "--quiet", forge.git_url("shop", "orders"), "main", at=place, token=token)
    git("clone", "--quiet", forge.git_url("shop", "orders"), "copy", at=tmp_path, token=token)
    assert git("log", "--format=%s", at=tmp_path / "copy") == "First\n"
    seen = api.get(f"/shop/_apis/git/repositories/{repo['id']}").json()
    assert seen["defaultBranch"] == "refs/heads/main"
    (ref,) = api.get(f"/_apis/git/repositories/{repo['id']}/refs").json()["value"]
    (commit,) = api.get("/shop/_apis/git/repositories/Orders/commits").json()["value"]
    assert ref["name"] == "refs/heads/main"
    assert (commit["commitId"], commit["comment"]) == (ref["objectId"], "First")


def test_a_protected_branch_refuses_a_push_and_takes_its_first(
    forge: Forge, api: httpx.Client, tmp_path: Path
) -> None:
    place, token, url = work(tmp_path), forge.add_token(), forge.url + "/shop/_git/orders"
    made(api)
    forge.protect("shop")
    git("push", "--quiet", url, "main", at=place, token=token)
    git("commit", "--quiet", "--allow-empty", "-m", "Second", at=place)
    said = git("push", "--porcelain", url, "main", at=place, token=token, fails=True)
    assert "[remote rejected] (TF402455: Pushes to this branch are not permitted" in said
    git("push", "--quiet", url, "main:refs/heads/topic", at=place, token=token)
    assert set(forge.repository("shop", "orders").refs()) == {"refs/heads/main", "refs/heads/topic"}


def test_what_it_does_not_have_is_answered_by_501_and_remembered(
    forge: Forge, api: httpx.Client
) -> None:
    assert api.get("/shop/_apis/git/repositories/orders/pushes").status_code == 501
    assert api.get("/shop/_apis/git/repositories", params=V | {"$filter": "x"}).status_code == 501
    assert api.post("/shop/_apis/git/repositories", json={"nam": "x"}).status_code == 400
    assert len(forge.wrong) == 3
    forge.wrong.clear()


def test_every_route_has_a_published_shape() -> None:
    shapes = {shape for route in ROUTES for shape in (route.answers, route.takes) if shape}
    assert len(ROUTES) > 60
    for shape in shapes:
        assert wrong_with(shape, 7), f"{shape} takes a number"


def test_an_answer_of_another_shape_is_never_sent(forge: Forge, api: httpx.Client) -> None:
    made(api)
    forge.world.url = "ftp://forge"
    assert api.get("/shop/_apis/git/repositories/orders").status_code == 500
    assert "GitRepository at /" in forge.wrong[0]
    forge.wrong.clear()


def test_a_wrong_answer_fails_the_test_at_its_end(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="knows no GET"),
        running_forge(tmp_path / "f") as forge,
    ):
        httpx.get(f"{forge.url}/_apis/nothing", trust_env=False)


def test_strangers_get_a_page_and_those_without_permission_are_told_its_name(forge: Forge) -> None:
    at = "/shop/_apis/git/repositories"
    with client(forge, "wrong") as stranger:
        answer = stranger.get(at)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (203, "text/html")
        forge.redirect_strangers()
        assert stranger.get(at).status_code == 302
        assert stranger.get(at, follow_redirects=True).headers["content-type"][:9] == "text/html"
    with client(forge, forge.add_token(organization="contoso")) as elsewhere:
        assert elsewhere.get(at).status_code == 302
    with client(forge, forge.add_token(expired=True)) as late:
        assert late.get(at).status_code == 401
    with client(forge, forge.add_token("GenericRead")) as reader:
        assert reader.get(at).status_code == 200
        refused = reader.post(at, json={"name": "orders"})
        assert refused.status_code == 403
        assert "TF401027: You need the Git 'CreateRepository' perm" in refused.json()["message"]
    with client(forge, forge.add_token(scopes=("vso.code",))) as scoped:
        assert scoped.post(at, json={"name": "orders"}).status_code == 401
    assert forge.repositories("shop") == []


def test_git_tells_strangers_and_those_without_permission(
    forge: Forge, api: httpx.Client, tmp_path: Path
) -> None:
    place, url, unknown = work(tmp_path), forge.url + "/shop/_git/orders", "fake"
    made(api)
    said = git("push", url, "main", at=place, token=unknown, fails=True)
    assert "could not read Username" in said or "Authentication failed" in said
    reader = forge.add_token("GenericRead")
    said = git("push", url, "main", at=place, token=reader, fails=True)
    assert "TF401027: You need the Git 'GenericContribute' permission" in said
    said = git("fetch", url + "2", at=place, token=reader, fails=True)
    assert "TF401019" in said


def test_a_name_is_taken_in_any_case_and_free_again_from_the_recycle_bin(
    forge: Forge, api: httpx.Client
) -> None:
    repo = made(api)
    taken = api.post("/shop/_apis/git/repositories", json={"name": "Orders"})
    assert taken.status_code == 409
    assert taken.json()["message"].startswith("TF400948: A Git repository with the name Orders")
    assert api.delete(f"/shop/_apis/git/repositories/{repo['id']}").status_code == 204
    (bin_one,) = api.get("/shop/_apis/git/recycleBin/repositories").json()["value"]
    assert bin_one["id"] == repo["id"]
    made(api)
    again = api.patch(
        f"/shop/_apis/git/recycleBin/repositories/{repo['id']}", json={"deleted": False}
    )
    assert again.status_code == 409


def test_tags_and_refs_are_made_by_the_api(forge: Forge, api: httpx.Client, tmp_path: Path) -> None:
    place, repo = work(tmp_path), made(api)
    git("push", "-q", forge.git_url("shop", "orders"), "main", at=place, token=forge.add_token())
    at = f"/shop/_apis/git/repositories/{repo['id']}"
    head = forge.repository("shop", "orders").refs()["refs/heads/main"]
    order = {"name": "factory/origin", "taggedObject": {"objectId": head}, "message": '{"a": 1}\n'}
    tag = api.post(f"{at}/annotatedtags", json=order).json()
    assert api.get(f"{at}/annotatedtags/{tag['objectId']}").json() == tag
    assert tag["message"] == '{"a": 1}'
    assert api.get(f"{at}/annotatedtags/{'1' * 40}").status_code == 500
    (ref,) = api.get(f"{at}/refs", params=V | {"filter": "tags/", "peelTags": "true"}).json()[
        "value"
    ]
    assert (ref["objectId"], ref["peeledObjectId"]) == (tag["objectId"], head)
    move = {"name": "refs/heads/x", "oldObjectId": "0" * 40, "newObjectId": head}
    (moved,) = api.post(f"{at}/refs", json=[move]).json()["value"]
    (late,) = api.post(f"{at}/refs", json=[move]).json()["value"]
    assert (moved["updateStatus"], late["updateStatus"]) == ("succeeded", "staleOldObjectId")


def test_faults_come_when_they_are_due(forge: Forge, api: httpx.Client) -> None:
    at = "/shop/_apis/git/repositories"
    forge.cut("repositories.create", "before")
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(at, json={"name": "a"})
    assert forge.repositories("shop") == []
    forge.cut("repositories.create", "after")
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(at, json={"name": "a"})
    assert forge.repositories("shop") == ["a"]
    forge.cut("repositories.list", "amid", skips=1)
    assert api.get(at).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(at)
    forge.throttle(seconds=60)
    refused = api.get(at)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    forge.slow_down(seconds=7)
    slowed = api.get(at)
    assert (slowed.status_code, slowed.headers["Retry-After"]) == (200, "7")
    assert "Retry-After" not in api.get(at).headers
    assert forge.count("repositories.create") == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_is_cut_before_or_after_the_pack_was_taken(
    forge: Forge, api: httpx.Client, tmp_path: Path, when: str
) -> None:
    place, token = work(tmp_path), forge.add_token()
    made(api)
    forge.cut("git.push", when, times=2)  # git's curl sends it again, once
    git("push", forge.git_url("shop", "orders"), "main", at=place, token=token, fails=True)
    assert bool(forge.repository("shop", "orders").refs()) == (when == "after")


def test_it_speaks_tls_too(tmp_path: Path) -> None:
    with running_forge(tmp_path / "f", tls=True) as forge:
        told = httpx.get(
            f"{forge.url}/_apis/projects/shop",
            params=V,
            auth=("", forge.add_token()),
            verify=ssl.create_default_context(cafile=forge.authority),
            trust_env=False,
        )
    assert told.json()["name"] == "shop"


def test_it_runs_in_a_process_of_its_own_and_tells_there_what_was_wrong(tmp_path: Path) -> None:
    def run() -> None:
        with forge_elsewhere(tmp_path / "f", "--tls") as forge:
            token = forge.call("add_token", user="bob@example.com")
            forge.call("cut", "repositories.create", "after", times=1)
            context = ssl.create_default_context(cafile=forge.authority)
            with httpx.Client(
                base_url=forge.url, auth=("", token), params=V, verify=context, trust_env=False
            ) as api:
                with pytest.raises(httpx.TransportError):
                    api.post("/shop/_apis/git/repositories", json={"name": "orders"})
                assert api.get("/_apis/nothing").status_code == 501
            assert forge.call("repositories", "shop") == ["orders"]
            assert forge.call("seen")[0]["user"] == "bob@example.com"

    with pytest.raises(AssertionError, match="knows no GET"):
        run()
