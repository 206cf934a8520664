"""The server that the stack keeps bounds what is at work at once, and says soon that it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from deployments import server
from deployments.server import AT_WORK, WHO_ARE_YOU, Message, PatientServer, Receive, Scope, Send


class Application:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.at_work = 0
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.at_work -= 1


def talk(
    application: Any, says: Callable[[httpx.AsyncClient], Awaitable[Any]], **options: int
) -> Any:
    async def talking() -> Any:
        transport = httpx.ASGITransport(PatientServer(application, "nonce", **options))  # pyright: ignore[reportArgumentType] - httpx types its scope as a dict
        async with httpx.AsyncClient(transport=transport, base_url="http://prefect") as client:
            return await says(client)

    return asyncio.run(talking())


def test_few_requests_are_at_work_at_once_and_all_are_answered():
    application = Application()

    async def many(client: httpx.AsyncClient) -> list[int]:
        asked = [asyncio.create_task(client.get("/api/flows")) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert application.at_work == AT_WORK
        application.go.set()
        return [(await one).status_code for one in asked]

    assert talk(application, many) == 20 * [200]
    assert application.most == AT_WORK


def test_who_would_wait_behind_too_many_is_told_at_once_to_come_back_soon():
    application = Application()

    async def crowd(client: httpx.AsyncClient) -> httpx.Response:
        asked = [asyncio.create_task(client.get("/api/flows")) for _ in range(3)]
        await asyncio.sleep(0.05)
        refused = await client.get("/api/flows")
        application.go.set()
        await asyncio.gather(*asked)
        assert (await client.get("/api/flows")).is_success, "and there is room again"
        return refused

    refused = talk(application, crowd, at_work=1, in_line=2)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "0.05")


class Busy:
    """Answers as a busy database has it, so many times; then with what it was sent.

    As Starlette does, it raises what it has answered with an error, and writes into the scope.
    """

    def __init__(self, times: int) -> None:
        self.times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/api/flows"
        scope["path"] = "/flows"
        self.times -= 1
        status, headers = (503, [(b"Retry-After", b"2")]) if self.times >= 0 else (200, [])
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if status == 503:
            raise OSError("database is locked")


def test_what_a_busy_database_refused_is_tried_again_without_the_client():
    said = talk(Busy(3), lambda client: client.post("/api/flows", content=b"a form"))
    assert (said.status_code, said.content) == (200, b"a form")


def test_a_database_that_stays_busy_says_to_come_back_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "AGAIN_SECONDS", 0)
    busy = Busy(1000)
    said = talk(busy, lambda client: client.post("/api/flows", content=b"a form"))
    assert said.status_code == 503
    assert said.headers.get_list("retry-after") == ["0.05"]
    assert busy.times == 1000 - server.TRIES


def test_who_asks_whose_server_it_is_waits_for_nobody():
    application = Application()

    async def ask(client: httpx.AsyncClient) -> str:
        other = asyncio.create_task(client.get("/api/flows"))
        await asyncio.sleep(0.05)
        answer = await client.get(WHO_ARE_YOU)
        application.go.set()
        await other
        return answer.text

    assert talk(application, ask, at_work=1) == "nonce"


def test_a_request_that_is_given_up_leaves_its_place():
    application = Application()

    async def give_up(client: httpx.AsyncClient) -> int:
        asked = [asyncio.create_task(client.get("/api/flows")) for _ in range(3)]
        await asyncio.sleep(0.05)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        application.go.set()
        return (await client.get("/api/flows")).status_code

    assert talk(application, give_up, at_work=1, in_line=2) == 200


def test_a_socket_that_stays_open_takes_no_place():
    application = Application()

    async def listen() -> None:
        server = PatientServer(application, "nonce", at_work=1)

        async def receive() -> Message:
            return {}

        async def send(message: Message) -> None:
            del message

        sockets = [
            asyncio.create_task(server({"type": "websocket", "path": "/"}, receive, send))
            for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        assert application.at_work == 3
        application.go.set()
        await asyncio.gather(*sockets)

    asyncio.run(listen())


@pytest.mark.parametrize(
    ("kind", "asks_only_us"), [(b"text/html; charset=utf-8", True), (b"application/json", False)]
)
def test_a_page_may_ask_no_other_host(kind: bytes, asks_only_us: bool):
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"Content-Type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/")

    policy = talk(page, ask).headers.get("content-security-policy", "")
    assert ("connect-src 'self'" in policy) is asks_only_us
