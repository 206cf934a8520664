"""Errors of the domain, and how every error looks to a client: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class NotFoundError(Exception):
    """There is no such thing."""


class ConflictError(Exception):
    """It cannot be, because of something that is there already."""


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """An answer that says what went wrong; ``more`` are further members of the problem."""
    title = HTTPStatus(status).phrase
    content = {"title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status_code=status, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer with problem details wherever the application raises."""

    @app.exception_handler(NotFoundError)
    def not_found(request: Request, exc: NotFoundError) -> JSONResponse:
        return problem(404, str(exc))

    @app.exception_handler(ConflictError)
    def conflict(request: Request, exc: ConflictError) -> JSONResponse:
        return problem(409, str(exc))

    @app.exception_handler(HTTPException)
    def http(request: Request, exc: HTTPException) -> JSONResponse:
        answer = problem(exc.status_code, str(exc.detail))
        answer.headers.update(exc.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        # The offending value stays out of the answer: it may be large, or secret.
        found = [
            {"at": ".".join(str(part) for part in error["loc"]), "message": error["msg"]}
            for error in exc.errors()
        ]
        return problem(422, "the request is not valid", errors=found)
