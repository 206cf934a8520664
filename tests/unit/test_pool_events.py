"""Which errors say that Prefect's server is away: those are waited out, all others are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest

from deployments import claims, pool_events
from deployments.claims import Patient
from deployments.pool_events import hear, is_away, is_upset


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://prefect/api")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status))


def wrapped(cause: Exception) -> RuntimeError:
    error = RuntimeError("Failed to reach API")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        TimeoutError(),
        answered(503),
        answered(429),
        wrapped(httpx.ConnectError("refused")),
    ],
)
def test_a_server_that_does_not_answer_now_is_away(error: Exception):
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        answered(500),
        answered(401),
        answered(404),
        answered(422),
        wrapped(ValueError()),
        RuntimeError(),
        KeyError(),
    ],
)
def test_a_server_that_refuses_is_not(error: Exception):
    assert not is_away(error)


def test_a_question_that_the_server_always_fails_at_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims, "_AGAIN_SECONDS", 0)
    told: list[Exception] = []

    async def question() -> None:
        raise answered(500)

    async def asked() -> None:
        with pytest.raises(httpx.HTTPStatusError):
            await Patient(cast("Any", None), told.append).ask(question)

    asyncio.run(asyncio.wait_for(asked(), 5))
    assert len(told) == 4
    assert is_upset(answered(500))
    assert is_upset(wrapped(answered(500)))
    assert not is_upset(answered(404))


def test_a_pool_that_was_made_again_is_heard_of_by_its_new_id(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool_events, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(pool_events, "_AGAIN_SECONDS", 0)
    first, second = uuid4(), uuid4()
    heard: asyncio.Queue[list[str]] = asyncio.Queue()

    async def nothing() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    @asynccontextmanager
    async def subscriber(wanted: Any, **_: Any) -> AsyncGenerator[Any]:
        heard.put_nowait(wanted.any_resource.id)
        yield nothing()

    monkeypatch.setattr(pool_events, "get_events_subscriber", subscriber)

    async def listened() -> list[list[str]]:
        ids = [first]

        def cancelling(flow_run_id: UUID) -> None:
            del flow_run_id

        hearing = asyncio.create_task(hear(lambda: ids[0], lambda: None, cancelling))
        found = [await heard.get()]
        ids[0] = second
        found.append(await asyncio.wait_for(heard.get(), 5))
        hearing.cancel()
        await asyncio.wait({hearing})
        return found

    wanted = [[f"prefect.work-pool.{one}"] for one in (first, second)]
    assert asyncio.run(listened()) == wanted
