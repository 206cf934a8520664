"""Requests that somebody made to break something: all are refused, and nothing is broken."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from api.app import create_app
from api.http_heads import BoundedHeads
from api.loopback import LoopbackOwner
from factory_runtime.wire.paths import API_PREFIX
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

RUNS = f"{API_PREFIX}/runs"
JSON = {"Content-Type": "application/json"}

INJECTIONS = (
    "' OR '1'='1' --",
    "'; DROP TABLE runs; --",
    "_%",
    "\\",
    "shop\x00",
)
ODD_IDS = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2f",
    "..%5c..%5cwindows",
    "%00",
    "run-1%00.json",
    "%ff%fe",
    "%c0%ae%c0%ae",
    "~root",
    "'--",
    "%0d%0aX-Evil:%201",
    "x" * 5000,
    "%F0%9F%92%A9",
    "%25%32%65",
)


@pytest.fixture(scope="module")
def client(shared_site: ApiSite) -> Generator[TestClient]:
    """An administrator's, of a site with something of everything."""
    lay_out(shared_site, "shop")
    with shared_site.client(somebody()) as client:
        yield client


def gets(client: TestClient) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Paths that are read, as the document has them, and what they may be asked with."""
    for path, operations in client.get(f"{API_PREFIX}/openapi.json").json()["paths"].items():
        if "get" in operations:
            yield path, operations["get"].get("parameters", [])


def is_text(parameter: dict[str, Any]) -> bool:
    schema = parameter["schema"]
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") == "string"]
    return parameter["in"] == "query" and any("enum" not in one for one in kinds)


# --- what is looked up


def test_no_filter_takes_text_for_anything_else(site: ApiSite):
    lay_out(site, "shop")
    with site.client(somebody()) as client:
        _inject(client)
        assert len(client.get(RUNS).json()["items"]) == 2, "and all is there still"


def _inject(client: TestClient) -> None:
    asked = 0
    for path, parameters in gets(client):
        if "{" in path:
            continue
        for parameter in filter(is_text, parameters):
            for text in INJECTIONS:
                answer = client.get(path, params={parameter["name"]: text})
                said = (path, parameter["name"], text, answer.status_code, answer.text[:200])
                assert answer.status_code in (200, 404, 422), said
                if answer.status_code == 200:
                    found = answer.json()
                    assert found.get("items", []) == [], said
                    assert not found.get("count"), said
                asked += 1
    assert asked > 100


def test_no_name_in_an_address_leads_elsewhere(client: TestClient):
    for path, parameters in gets(client):
        names = [one["name"] for one in parameters if one["in"] == "path"]
        for name in names:
            for odd in ODD_IDS:
                others = {other: "x" for other in names if other != name}
                answer = client.get(path.format(**{**others, name: odd}))
                said = (path, odd, answer.status_code, answer.text[:200])
                assert answer.status_code in (404, 422), said
                assert answer.headers["content-type"] == "application/problem+json", said
                assert "x-evil" not in answer.headers
                assert len(answer.content) < 20_000


def test_a_cursor_that_somebody_wrote_is_refused(client: TestClient):
    import base64

    written = (
        "[" * 1400,
        '["run-1"]',
        '[["a"],"b"]',
        '{"a":1}',
        '["0001-01-01T00:00:00+14:00","run-1"]',
        '["letter-1","0001-01-01T00:00:00+14:00"]',
        '["9999-12-31T23:59:59-14:00","run-1"]',
        '["2026-01-01T00:00:00","run-1"]',
        "[null,null]",
        '["a","b","c","d","e","f","g"]',
        "NaN",
    )
    for path, parameters in gets(client):
        if "cursor" not in {one["name"] for one in parameters}:
            continue
        for text in (*written, "\udcff".encode(errors="surrogateescape").decode("latin-1")):
            cursor = base64.urlsafe_b64encode(text.encode()).decode()
            answer = client.get(path, params={"cursor": cursor})
            # Where a name alone is a cursor, what follows it may be asked for.
            assert answer.status_code in (200, 422), (path, text, answer.text[:200])
            assert answer.status_code == 422 or answer.json()["items"] == [], (path, text)


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "-151", "1e400", "2026-01-01"],
)
def test_a_time_that_no_calendar_has_is_refused(client: TestClient, text: str):
    asked = 0
    for path, parameters in gets(client):
        for name in (one["name"] for one in parameters if "date-time" in str(one["schema"])):
            answer = client.get(path, params={name: text})
            assert answer.status_code == 422, (path, name, answer.text[:200])
            asked += 1
    assert asked > 8


# --- what is sent

ASKED = b'{"templateRecipeId": "service", "inputs": {"service_name": "orders"}}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ASKED.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(ASKED.decode().encode("utf-32-le"), id="UTF-32"),
        pytest.param(b"\xef\xbb\xbf" + ASKED, id="byte order mark"),
        pytest.param(ASKED.replace(b"orders", b"\xfcber"), id="Latin-1"),
        pytest.param(ASKED.replace(b"orders", b"\xc0\xaf"), id="overlong"),
        pytest.param(ASKED.replace(b"orders", b"\xed\xa0\x80"), id="surrogate in UTF-8"),
        pytest.param(ASKED.replace(b"orders", b"\\ud800"), id="lone surrogate"),
        pytest.param(ASKED.replace(b'"orders"', b"NaN"), id="NaN"),
        pytest.param(ASKED.replace(b'"orders"', b"-Infinity"), id="Infinity"),
        pytest.param(ASKED.replace(b'"orders"', b"1e999"), id="beyond doubles"),
        pytest.param(ASKED.replace(b'"orders"', b"9" * 5000), id="5000 digits"),
        pytest.param(ASKED.replace(b'"orders"', b"[" * 100_000), id="open brackets"),
        pytest.param(
            ASKED.replace(b'"orders"', b"[" * 100_000 + b"]" * 100_000), id="100,000 deep"
        ),
        pytest.param(ASKED.replace(b'"orders"', b'{"a":' * 99_999), id="objects, deep"),
        pytest.param(ASKED.replace(b"{", b'{"templateRecipeId":"x",', 1), id="a key twice"),
        pytest.param(ASKED.replace(b'"orders"', b'{"a":1,"a":2}'), id="a key twice, within"),
        pytest.param(ASKED + ASKED, id="two bodies"),
        pytest.param(b"\x00" + ASKED, id="NUL"),
        pytest.param(b"{'templateRecipeId': 'service'}", id="single quotes"),
    ],
)
def test_a_body_that_can_be_read_in_two_ways_is_not_read(client: TestClient, body: bytes):
    for path in (RUNS, f"{RUNS}/preview", f"{API_PREFIX}/memory/search"):
        answer = client.post(path, content=body, headers=JSON)
        assert answer.status_code == 400, answer.text[:300]
        assert answer.json()["type"].endswith(":invalid-json")
        assert len(answer.content) < 2000


@pytest.mark.parametrize("depth", [50, 200, 300, 900])
def test_depth_that_can_be_parsed_is_stored_or_refused(client: TestClient, depth: int):
    deep: Any = "x"
    for _ in range(depth):
        deep = [deep]
    for asked in ({"metadata": {"deep": deep}}, {"inputs": {"service_name": deep}}):
        body = json.dumps({"templateRecipeId": "service", **asked}).encode()
        for path in (RUNS, f"{RUNS}/preview"):
            answer = client.post(path, content=body, headers=JSON)
            assert answer.status_code in (200, 202, 400, 422), (depth, asked.keys(), answer.text)
            if answer.status_code == 202:
                told = client.get(answer.headers["location"])
                assert told.json()["metadata"] == {"deep": deep}


def test_a_megabyte_in_any_field_is_refused_or_kept_and_never_sent_back_as_a_mistake(
    client: TestClient,
):
    long = "x" * 1_000_000
    fields = client.get(f"{API_PREFIX}/openapi.json").json()["components"]["schemas"]["NewRun"]
    for field in fields["properties"]:
        for value in (long, {"service_name": long}):
            answer = client.post(RUNS, json={"templateRecipeId": "service", field: value})
            assert answer.status_code in (202, 422), (field, answer.text[:300])
            assert len(answer.content) < 10_000 or field == "metadata", field
    for path, body in (
        ("/memory/search", {"query": long}),
        ("/dead-letters/actions/discard", {"reason": long}),
        ("/approvals/apr-1/deny", {"comment": long}),
    ):
        answer = client.post(API_PREFIX + path, json=body)
        assert answer.status_code == 422
        assert len(answer.content) < 10_000


def test_another_kind_of_body_is_no_json(client: TestClient):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = client.post(RUNS, content=ASKED, headers={"Content-Type": kind})
        assert answer.status_code in (400, 415, 422), (kind, answer.text)


@pytest.mark.parametrize("path", [RUNS, f"{API_PREFIX}/webhooks/hook-none"])
def test_who_leaves_half_way_is_no_bug(
    shared_site: ApiSite, path: str, caplog: pytest.LogCaptureFixture
):
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    asyncio.run(shared_site.app()(scope, receive, send))
    assert statuses[:1] in ([400], [401], [])
    assert "bug" not in caplog.text


# --- what only bytes on a connection can say


@contextmanager
def listening(site: ApiSite) -> Generator[int]:
    """The port of a real server that knows its owner by the loopback alone."""
    app = create_app(site.runtime, (LoopbackOwner("acme"),))
    config = uvicorn.Config(
        app, port=0, http=BoundedHeads, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server.config.load()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port(shared_site: ApiSite) -> Generator[int]:
    with listening(shared_site) as found:
        yield found


def say(port: int, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the whole of what is answered to these bytes."""
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + body)
        got = b""
        with suppress(ConnectionResetError):  # it does not care for the rest
            while chunk := connection.recv(65536):
                got += chunk
    return (int(got.split(b" ", 2)[1]) if got else 0), got


def test_the_server_answers_its_owner(port: int):
    status, _ = say(port, f"GET {RUNS} HTTP/1.1", f"Host: 127.0.0.1:{port}")
    assert status == 200


@pytest.mark.parametrize(
    ("line", "headers", "statuses"),
    [
        pytest.param(f"GET {RUNS}", ["Host: evil.example"], {401}, id="rebound name"),
        pytest.param(f"GET {RUNS}", ["Host: evil.example", "Host: localhost"], {400, 401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "Host: evil.example"], {400, 401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost@evil.example"], {400, 401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "X-Forwarded-For: 127.0.0.1"], {401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "Forwarded: for=10.1.1.1"], {200, 401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "Origin: http://evil.example"], {401}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "Origin: null"], {401}),
        pytest.param(f"GET http://evil.example{RUNS}", ["Host: evil.example"], {400, 401, 404}),
        pytest.param(f"GET /{API_PREFIX}/..//runs", ["Host: localhost"], {404}, id="slashes"),
        pytest.param(f"GET {API_PREFIX}/./runs", ["Host: localhost"], {404}),
        pytest.param(f"GET {API_PREFIX}/x/../runs", ["Host: localhost"], {404}),
        pytest.param(f"GET {API_PREFIX}%2fruns", ["Host: localhost"], {200, 404}),
        pytest.param(f"FROB {RUNS}", ["Host: localhost"], {400, 405}),
        pytest.param(f"TRACE {RUNS}", ["Host: localhost"], {400, 405}),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "Content-Length: 1, 2"], {400}),
        pytest.param(
            f"POST {RUNS}", ["Host: localhost", "Content-Length: 2", "Content-Length: 3"], {400}
        ),
        pytest.param(f"POST {RUNS}", ["Host: localhost", "Content-Length: -1"], {400}),
        pytest.param(
            f"POST {RUNS}",
            ["Host: localhost", "Content-Length: 50", "Transfer-Encoding: chunked"],
            {400, 422},
            id="smuggling",
        ),
        pytest.param(f"GET {RUNS}", ["Host: localhost", "X: " + "x" * 200_000], {0, 400, 431}),
        pytest.param(f"GET {RUNS}?{'x' * 200_000}", ["Host: localhost"], {0, 400, 414, 431}),
    ],
)
def test_what_a_header_says_opens_nothing(
    port: int, line: str, headers: list[str], statuses: set[int]
):
    status, got = say(port, f"{line} HTTP/1.1", *headers, body=b"0\r\n\r\n")
    assert status in statuses, got[:300]
    assert got.count(b"HTTP/1.1 ") <= 1


def test_another_method_is_not_taken_from_a_header(port: int, shared_site: ApiSite):
    run = shared_site.run(shared_site.client(somebody()))
    for header in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        status, _ = say(port, f"GET {RUNS}/{run} HTTP/1.1", "Host: localhost", f"{header}: DELETE")
        assert status == 200
        path = f"{RUNS}/{run}/cancel?_method=POST"
        status, _ = say(port, f"GET {path} HTTP/1.1", "Host: localhost", f"{header}: POST")
        assert status in (404, 405)
    assert not shared_site.stands("acme", run).ended


def test_a_hundred_megabytes_are_refused_before_they_are_sent(port: int):
    status, got = say(
        port,
        f"POST {RUNS} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Content-Length: 104857600",
    )
    assert status == 413, got[:300]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"GET {RUNS}?", id="address"),
        pytest.param(f"GET {RUNS} HTTP/1.1\r\nHost: localhost\r\nX: ", id="header"),
        pytest.param(
            f"POST {API_PREFIX}/webhooks/x HTTP/1.1\r\nHost: localhost\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
            id="trailer",
        ),
    ],
)
def test_a_head_without_end_is_not_held(port: int, head: str):
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode())
        with suppress(OSError):  # it does not listen any more
            while sent < 50 * 1024 * 1024:
                connection.sendall(b"x" * 65536)
                sent += 65536
    assert sent < 20 * 1024 * 1024


def test_requests_of_one_connection_are_bounded_each_for_itself(port: int):
    one = f"GET {RUNS}/none HTTP/1.1\r\nHost: localhost\r\nX: {'x' * 30_000}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(5):
            connection.sendall(one)
            got = b""
            while not got.endswith(b'"errors":[]}'):
                got += connection.recv(65536)
            assert b" 404 " in got.split(b"\r\n", 1)[0]


def test_a_head_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("api.http_heads._SECONDS", 0.2)
    one = f"GET {API_PREFIX}/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for said in (b"", b"GET / HTTP/1.1\r\nHos", one + b"\r\n", one + one[:20], one + one + b"G"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(said)
            got = b""
            while found := connection.recv(65536):  # times out where it is waited for
                got += found
            assert got.count(b"HTTP/1.1 200 OK") == said.count(one)


def test_a_hundred_megabytes_in_pieces_are_refused_on_their_way(port: int):
    head = f"POST {RUNS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode())
        connection.settimeout(30)
        got = b""
        try:
            while sent < 100 * 1024 * 1024:
                connection.sendall(piece)
                sent += 65536
        except OSError:  # it does not listen any more
            pass
        with suppress(ConnectionResetError):
            got = connection.recv(65536)
    assert sent < 20 * 1024 * 1024
    assert got == b"" or b" 413 " in got.split(b"\r\n", 1)[0]
