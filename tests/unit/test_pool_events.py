"""Which errors say that Prefect's server is away: those are waited out, all others are told."""

from __future__ import annotations

import httpx
import pytest

from deployments.pool_events import is_away


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
        answered(500),
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
