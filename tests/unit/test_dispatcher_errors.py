"""Which errors say nothing of a run: it is left for the next look, and not Failed."""

from __future__ import annotations

import httpx
import pytest
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from deployments.dispatcher import passes
from factory_runtime.domain.errors import (
    ConflictError,
    HostRejectedError,
    InputError,
    StoreUnavailableError,
)

REQUEST = httpx.Request("GET", "http://127.0.0.1/api/flow_runs/1")


def answered(status: int) -> PrefectHTTPStatusError:
    response = httpx.Response(status, request=REQUEST)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    return PrefectHTTPStatusError.from_httpx_error(caught.value)


def wrapped(error: Exception) -> RuntimeError:
    """As Prefect does where its first call of all fails."""
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("Failed to reach API") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_of_the_server_says_nothing_of_the_run(status: int):
    assert passes(answered(status))
    assert passes(wrapped(answered(status)))


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("away"),
        ConflictError("another process has it"),
        httpx.ConnectError("refused", request=REQUEST),
        httpx.ReadTimeout("slow", request=REQUEST),
        ObjectNotFound(http_exc=ValueError("a flow run that somebody deleted")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_away_or_another_s_passes(error: Exception):
    assert passes(error)
    assert passes(wrapped(error))


@pytest.mark.parametrize(
    "error",
    [
        answered(400), answered(409), answered(422), HostRejectedError("no"), InputError("no"),
        ValueError("a bug"), RuntimeError("a bug"), wrapped(KeyError("a bug")),
    ],
    ids=str,
)  # fmt: skip
def test_what_would_fail_again_does_not_pass(error: Exception):
    assert not passes(error)
