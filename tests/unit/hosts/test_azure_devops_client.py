"""What an organisation's answers mean, over a real socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Generator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, InputError
from factory_runtime.hosts.azure_devops import client as client_module
from factory_runtime.hosts.azure_devops.access import (
    AzureDevOps,
    Token,
    entra_credential,
    entra_tokens,
    personal_token,
)
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, Turns, route
from factory_runtime.hosts.azure_devops.errors import FailedError, TakenError, TurnedDownError
from factory_runtime.hosts.azure_devops.vault import VaultToken
from tests.data_server import DataServer, data_server

TOKEN = "canary-pat-0123456789"  # noqa: S105 - nobody's
PATH = "/acme/shop/_apis/git/repositories/orders"


class Named(BaseModel):
    name: str


@pytest.fixture
def server() -> Generator[DataServer]:
    with data_server() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(server: DataServer, slept: list[float]) -> AzureDevOpsClient:
    access = AzureDevOps(server.url("/acme"), personal_token(TOKEN, "factory"))
    return AzureDevOpsClient(access, Turns(slept.append))


def answers(server: DataServer, status: int, message: str = "", kind: str = "", **headers: str):
    body = json.dumps({"message": message, "typeKey": kind}).encode()
    said: dict[str, Any] = {"content_type": "application/json", **headers}
    server.serves(PATH, body, status, **said)


def get(client: AzureDevOpsClient) -> Named:
    return client.get(Named, route("shop", "git", "repositories", "orders"))


def test_a_personal_access_token_goes_by_basic_and_is_shown_nowhere(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    server.serves(PATH, b'{"name": "orders", "more": 1}')
    assert get(client).name == "orders"
    _, headers = server.asked[0]
    assert headers["Authorization"] == "Basic ZmFjdG9yeTpjYW5hcnktcGF0LTAxMjM0NTY3ODk="
    answers(server, 400, f"who is {TOKEN}?")
    with pytest.raises(TurnedDownError, match=r"who is \*\*\*") as told:
        get(client)
    assert TOKEN not in f"{client.access!r} {client.access.tokens()!r} {told.value.explain()}"


@pytest.mark.parametrize("status", [203, 302])
def test_a_page_to_sign_in_is_a_token_that_is_not_accepted(
    server: DataServer, client: AzureDevOpsClient, status: int
) -> None:
    server.serves(PATH, b"<html>Sign In", status, content_type="text/html", location="/signin")
    with pytest.raises(HostRejectedError, match=r"does not accept the token: .* page to sign in"):
        get(client)
    assert len(server.asked) == 1, "nobody follows it there"


def test_a_page_with_200_is_no_answer_either(server: DataServer, client: AzureDevOpsClient) -> None:
    server.serves(PATH, b"<html>", content_type="text/html; charset=utf-8")
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        get(client)


def test_an_expired_token_is_named(server: DataServer, client: AzureDevOpsClient) -> None:
    answers(server, 401, "TF400813: The user '' is not authorized to access this resource.")
    with pytest.raises(HostRejectedError, match="answers with 401") as told:
        get(client)
    assert "expired" in str(told.value.hint)


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        ("TF401027: You need the Git 'GenericContribute' permission to perform this action."
         " Details: identity 'Build\\\\1', scope 'repository'.", "GenericContribute"),
        ("Access denied. Ann needs the following permission(s) on the resource \\Builds to"
         " perform this action: Queue builds", "Queue builds"),
        ("TF401289: The current user does not have Create repository permissions.",
         "Create repository"),
        ("Go away.", None),
    ],
)  # fmt: skip
def test_a_missing_permission_is_named(
    server: DataServer, client: AzureDevOpsClient, message: str, permission: str | None
) -> None:
    answers(server, 403, message)
    with pytest.raises(TurnedDownError, match=permission or "lacks a permission") as told:
        get(client)
    assert told.value.permission == permission


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("TF200016: The following project does not exist: shop.", ""),
        ("VS800075: The project with id 'x' does not exist", ""),
        ("It is gone", "ProjectDoesNotExistWithNameException"),
    ],
)
def test_a_project_that_is_not_there_is_named(
    server: DataServer, client: AzureDevOpsClient, message: str, kind: str
) -> None:
    answers(server, 404, message, kind)
    with pytest.raises(InputError, match="has no project shop") as told:
        get(client)
    assert told.value.hint


def test_another_thing_that_is_not_there_is_found_to_be_none(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    answers(server, 404, "TF401019: The Git repository with name or identifier orders does not")
    assert client.find(Named, route("shop", "git", "repositories", "orders")) is None


def test_a_collision_says_its_code(server: DataServer, client: AzureDevOpsClient) -> None:
    answers(server, 409, "TF400948: A Git repository with the name orders already exists.")
    with pytest.raises(TakenError) as told:
        get(client)
    assert told.value.host_code == "TF400948"


def test_a_failure_for_something_that_is_missing_can_be_told(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    answers(server, 500, "TF401035: The object '1' does not exist.")
    with pytest.raises(FailedError):
        get(client)


def test_who_is_throttled_does_not_ask_again_until_then(
    server: DataServer, client: AzureDevOpsClient, slept: list[float]
) -> None:
    answers(server, 429, "TF400733: The request has been canceled", retry_after="60")
    with pytest.raises(HostBusyError) as first:
        get(client)
    assert first.value.retry_after == timedelta(seconds=60)
    with pytest.raises(HostBusyError, match="asks us to wait") as second:
        get(client)
    assert second.value.retry_after is not None
    assert 50 < second.value.retry_after.total_seconds() <= 60
    assert (len(server.asked), slept) == (1, [])


@pytest.mark.parametrize(("seconds", "is_slept"), [("1.5", True), ("30", False)])
def test_an_answer_that_is_good_may_ask_us_to_wait_too(
    server: DataServer,
    client: AzureDevOpsClient,
    slept: list[float],
    seconds: str,
    is_slept: bool,
) -> None:
    server.serves(PATH, b'{"name": "orders"}', retry_after=seconds)
    assert get(client).name == "orders"
    if is_slept:
        assert get(client).name == "orders"
        assert len(slept) == 1
    else:
        with pytest.raises(HostBusyError):
            get(client)
        assert slept == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_host_that_is_busy_is_asked_once(
    server: DataServer, client: AzureDevOpsClient, status: int
) -> None:
    server.serves(PATH, b"<html>Oops", status, content_type="text/html")
    with pytest.raises(HostBusyError, match=str(status)):
        get(client)
    assert len(server.asked) == 1


def test_an_answer_that_breaks_off_is_asked_for_once(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    server.breaks_off(PATH, b'{"name"')
    with pytest.raises(HostBusyError, match="does not answer"):
        get(client)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [200, 403, 503])
def test_an_answer_that_does_not_come_to_an_end_is_left(
    server: DataServer,
    client: AzureDevOpsClient,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(client_module, "_ANSWER_SECONDS", 0.3)
    server.trickles(PATH, b"HTTP/1.1 %d Said\r\n\r\n" % status)
    error = HostRejectedError if status == 403 else HostBusyError
    with pytest.raises(error):
        get(client)


@pytest.mark.parametrize("body", [b"no JSON", b'{"title": 1}', b"[]"])
def test_another_form_is_refused_by_name(
    server: DataServer, client: AzureDevOpsClient, body: bytes
) -> None:
    server.serves(PATH, body, content_type="application/json")
    with pytest.raises(HostRejectedError, match="in a form that is not known"):
        get(client)


def test_a_list_is_read_page_by_page(server: DataServer, client: AzureDevOpsClient) -> None:
    server.serves("/acme/_apis/projects", b'{"value": [{"name": "a"}]}', x_ms_continuationtoken="2")
    named = [one.name for one in client.list(Named, route(None, "projects"))]
    assert named == ["a", "a"], "a page that leads to itself is the last"
    assert "continuationToken=2" in server.asked[1][0]


def test_an_organisation_that_is_not_there_is_no_empty_one(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    server.serves(PATH, b"<html>Not here", 404, content_type="text/html")
    with pytest.raises(HostRejectedError, match="page for people") as told:
        client.find(Named, route("shop", "git", "repositories", "orders"))
    assert "URL" in str(told.value.hint)


@pytest.mark.parametrize("names", [("..",), ("a", ".."), ("",), ("a\n",)])
def test_a_name_that_leads_elsewhere_is_no_part_of_a_path(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        route("shop", *names)
    assert route("my shop", "a/b", "$Task") == "my%20shop/_apis/a%2Fb/$Task"


@pytest.mark.parametrize(
    "url",
    [
        "http://dev.azure.com/acme",
        "https://dev.azure.com",
        "https://u:p@dev.azure.com/acme",
        "ftp:x",
    ],
)
def test_an_address_that_gives_the_token_away_is_refused(url: str) -> None:
    with pytest.raises(InputError) as told:
        AzureDevOps(url, personal_token(TOKEN))
    assert told.value.hint


def test_a_managed_identity_gives_tokens_of_azure_devops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As App Service hands them out.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """
    with data_server() as identity:
        monkeypatch.setenv("IDENTITY_ENDPOINT", identity.url("/token"))
        monkeypatch.setenv("IDENTITY_HEADER", "its-secret")
        resource = "499b84ac-1321-427f-aa17-267ca6975798"
        given = {
            "access_token": "entra-1",
            "expires_on": str(int(time.time()) + 3600),
            "resource": resource,
            "token_type": "Bearer",
        }
        identity.serves("/token", json.dumps(given).encode(), content_type="application/json")
        credential = entra_credential({"managed_identity": True})
        assert credential is not None
        tokens = entra_tokens(credential)
        assert [tokens().header, tokens().header] == ["Bearer entra-1"] * 2
        assert len(identity.asked) == 1, "it is kept as long as it is good"
        assert resource in identity.asked[0][0]
        assert "its-secret" in identity.asked[0][1].values()


@pytest.fixture
def vault_token(server: DataServer) -> VaultToken:
    return VaultToken(server.url("/secrets/pat"), lambda: Token("entra-1", "Bearer"), "factory")


def test_a_token_may_lie_in_a_key_vault(server: DataServer, vault_token: VaultToken) -> None:
    server.serves("/secrets/pat", json.dumps({"value": TOKEN, "id": "x"}).encode())
    assert [vault_token().header, vault_token().header] == [
        "Basic ZmFjdG9yeTpjYW5hcnktcGF0LTAxMjM0NTY3ODk="
    ] * 2
    ((path, headers),) = server.asked
    assert path == "/secrets/pat?api-version=7.4"
    assert headers["Authorization"] == "Bearer entra-1"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b"{}", HostRejectedError),
        (404, b"{}", HostRejectedError),
        (302, b"", HostRejectedError),
        (200, b'{"value": ""}', InputError),
        (200, b"no JSON", HostRejectedError),
        (429, b"{}", HostBusyError),
        (500, b"", HostBusyError),
    ],
)
def test_a_key_vault_that_gives_no_token(
    server: DataServer, vault_token: VaultToken, status: int, body: bytes, error: type[Exception]
) -> None:
    server.serves("/secrets/pat", body, status, location="/elsewhere")
    with pytest.raises(error):
        vault_token()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.vault.azure.net.evil.example/secrets/pat",
        "https://evil.example/secrets/pat",
        "http://acme.vault.azure.net/secrets/pat",
        "https://acme.vault.azure.net:8443/secrets/pat",
        "https://acme.vault.azure.net/keys/pat",
    ],
)
def test_nobody_but_a_key_vault_is_shown_who_we_are(url: str) -> None:
    with pytest.raises(InputError, match="no address of a secret"):
        VaultToken(url, lambda: Token("entra-1", "Bearer"))


def test_half_a_service_principal_is_refused() -> None:
    with pytest.raises(InputError, match="tenant_id, a client_id and a client_secret"):
        entra_credential({"tenant_id": "x", "client_id": "y"})
    assert entra_credential({"token": "x"}) is None


# --- git


REPOSITORY = "/acme/shop/_git/orders"


def test_git_is_spoken_as_git_speaks_it(server: DataServer, client: AzureDevOpsClient) -> None:
    """Else a host shows who it does not know a page to sign in."""
    server.serves(REPOSITORY, b"0000")
    body = iter([b"one", b"two"])
    answer = client.speak_git("GET", server.url(REPOSITORY), {"Content-Length": "6"}, body)
    assert answer.content == b"0000"
    path, headers = server.asked[0]
    assert path == REPOSITORY, "without the version of REST"
    assert headers["User-Agent"].startswith("git/")
    assert headers["Content-Length"] == "6"
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (400, "text/plain", b"The repository is being moved.", "The repository is being moved"),
        (403, "text/plain", b"TF401027: You need the Git 'GenericContribute' permission\nmore",
         "the permission GenericContribute"),
        (403, "application/x-git-receive-pack-advertisement",
         b"001f# service=git-receive-pack\n0000003aTF401027: You need the 'Read' permission",
         "the permission Read"),
        (413, "text/plain", b"", "answers 413"),
    ],
)  # fmt: skip
def test_what_git_is_told_where_it_is_refused_is_told(
    server: DataServer, client: AzureDevOpsClient, status: int, kind: str, body: bytes, words: str
) -> None:
    server.serves(REPOSITORY, body, status, content_type=kind)
    with pytest.raises(TurnedDownError, match=words) as told:
        client.speak_git("GET", server.url(REPOSITORY))
    assert (status == 413) == ("smaller" in str(told.value.hint))


def test_a_host_that_stops_reading_is_named(
    server: DataServer, client: AzureDevOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_TIMEOUT", httpx.Timeout(0.5))
    server.hangs(REPOSITORY)
    endless = (b"0" * 65_536 for _ in range(1_000))
    with pytest.raises(HostBusyError, match="stopped taking in") as told:
        client.speak_git("POST", server.url(REPOSITORY), {}, endless)
    assert "size" in str(told.value.hint)


def test_a_line_that_is_cut_in_the_middle_of_a_push_is_one_that_does_not_answer(
    server: DataServer, client: AzureDevOpsClient
) -> None:
    def cut(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(100_000)
        request.connection.shutdown(socket.SHUT_RDWR)

    server.does(REPOSITORY, cut)
    size = {"Content-Length": "6553600"}
    with pytest.raises(HostBusyError, match="does not answer"):
        client.speak_git("POST", server.url(REPOSITORY), size, [b"0" * 65_536] * 100)
    assert len(server.asked) == 1
