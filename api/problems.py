"""The one place where an error becomes an HTTP answer: problem details (RFC 9457)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from factory_runtime.domain import errors
from factory_runtime.domain.errors import FactoryError, ProblemsError
from factory_runtime.telemetry.tracing import current_trace_id
from factory_runtime.wire.problem import PROBLEM_MEDIA_TYPE, PROBLEM_TYPE, Mistake, Problem

_LOG = logging.getLogger("factory.api")

_STATUSES: tuple[tuple[type[FactoryError], int], ...] = (
    (errors.SettingsError, 500),
    (errors.UnauthenticatedError, 401),
    (errors.AccessError, 403),
    (errors.NotAllowedError, 403),
    (errors.UnsupportedEventError, 415),
    (errors.InputError, 422),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.CancelledError, 409),
    (errors.LimitReachedError, 429),
    (errors.TransientError, 503),
    (errors.HostRejectedError, 502),
    (errors.PermanentError, 500),
)
_CODES: Mapping[int, str] = {
    400: "bad-request",
    404: "no-such-place",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "body-too-large",
    415: "unsupported-media-type",
}
"""Of what the framework refuses: phrases of statuses differ between releases of Python."""

_MOST_MISTAKES = 100
"""That are told of: a small body can have so many that to tell of all is an attack."""
_RETRY_SECONDS = 1
"""For whoever asks something that is away, and does not say when it will be back."""

_WITHIN: tuple[tuple[type[FactoryError], str], ...] = (
    (errors.StoreUnavailableError, "the run store does not answer, or cannot write"),
    (errors.CorruptStoreError, "the run store is damaged"),
    (errors.StorageFullError, "artifact storage is full"),
    (errors.StorageAwayError, "artifact storage is away"),
    (errors.MemoryUnavailableError, "the memory cannot be used"),
    (errors.PrefectUnavailableError, "Prefect does not answer"),
    (errors.SettingsError, "the factory is not set up for this"),
)
"""Errors whose own words name folders, hosts and logins of the factory: its log has those."""

Responses = Mapping[int | str, dict[str, Any]]


def status_of(error: FactoryError) -> int:
    """The HTTP status of an error of ours."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of an operation's failures."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Have the application answer every error with a problem."""
    app.add_exception_handler(FactoryError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(ClientDisconnect, _of_gone)
    app.add_exception_handler(Exception, _of_bug)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that tells of it."""
    return JSONResponse(
        problem.model_dump(mode="json", by_alias=True, exclude_none=True),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def problem_of(error: FactoryError) -> Problem:
    """An error of ours on the wire."""
    found = error.problems if isinstance(error, ProblemsError) else ()
    mistakes = (
        Mistake(pointer=one.file, message=one.message, code=one.code, hint=one.hint)
        for one in found
    )
    within = _said_of(error)
    return Problem(
        type=f"{PROBLEM_TYPE}{error.code}",
        title=error.code.replace("-", " ").capitalize(),
        status=status_of(error),
        detail=within or str(error),
        hint=error.hint if within is None else "the factory's log has more of it, by its trace",
        run_id=error.run_id,
        trace_id=current_trace_id(),
        errors=tuple(mistakes),
    )


def words_of(error: FactoryError) -> str:
    """What whoever asks is told of it."""
    return _said_of(error) or str(error)


def _said_of(error: FactoryError) -> str | None:
    return next((said for kind, said in _WITHIN if isinstance(error, kind)), None)


def refuse(error: FactoryError) -> JSONResponse:
    """The answer to a request that failed of it."""
    headers = dict[str, str]()
    if isinstance(error, errors.UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.TransientError):
        wait = error.retry_after.total_seconds() if error.retry_after else _RETRY_SECONDS
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if (status := status_of(error)) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        is_fault = status == HTTPStatus.INTERNAL_SERVER_ERROR
        level = logging.ERROR if is_fault else logging.WARNING
        _LOG.log(level, "request failed: %s", error.explain())
    return answer(problem_of(error), headers)


def plain_problem(status: int, code: str, detail: str, **more: Any) -> Problem:
    """A problem that no error of ours stands for."""
    return Problem(
        type=f"{PROBLEM_TYPE}{code}",
        title=code.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        trace_id=current_trace_id(),
        **more,
    )


def _of_ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FactoryError)  # noqa: S101 - as it was installed
    return refuse(error)


def _of_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it was installed
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return answer(plain_problem(400, "invalid-json", "the body is no JSON"))
    mistakes = tuple(
        Mistake(pointer=_pointer(one["loc"]), message=str(one["msg"]), code=str(one["type"]))
        for one in found[:_MOST_MISTAKES]
    )
    detail = "; ".join(f"{one.pointer}: {one.message}" for one in mistakes)[:2000]
    if (left := len(found) - len(mistakes)) > 0:
        detail += f"; and {left} more"
    return answer(plain_problem(422, "invalid-request", detail, errors=mistakes))


def _pointer(place: tuple[Any, ...]) -> str:
    kind, *rest = place or ("body",)
    if kind == "body":
        return "".join("/" + str(one).replace("~", "~0").replace("/", "~1") for one in rest)
    return ".".join(map(str, rest))


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it was installed
    code = _CODES.get(error.status_code, f"http-{error.status_code}")
    return answer(plain_problem(error.status_code, code, str(error.detail)), error.headers)


def _of_gone(_: Request, __: Exception) -> JSONResponse:
    """Whoever sent it left half way: nobody reads this, and it is no bug."""
    return answer(plain_problem(400, "incomplete-request", "the body did not come whole"))


def _of_bug(_: Request, error: Exception) -> JSONResponse:
    _LOG.error("a request failed of a bug", exc_info=error)
    detail = "this is a bug in the factory; its log has the traceback"
    return answer(plain_problem(500, "unexpected", detail))
