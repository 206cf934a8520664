"""What the API refuses, as the errors that a service would have raised here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache

from pydantic import ValidationError

from factory_runtime.domain import errors
from factory_runtime.domain.errors import FactoryError, ProblemsError, TransientError
from factory_runtime.wire.problem import PROBLEM_TYPE, Problem


class UnreadableAnswerError(errors.PermanentError):
    """Something answers there that is no Factory API, or a newer one than this client reads."""


_BY_STATUS: Mapping[int, type[FactoryError]] = {
    400: errors.InputError,
    401: errors.UnauthenticatedError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.InputError,
    415: errors.InputError,
    422: errors.InputError,
    429: errors.LimitReachedError,
    502: errors.TransientError,
    503: errors.TransientError,
    504: errors.TransientError,
}


def error_of(status: int, content: bytes, headers: Mapping[str, str]) -> FactoryError:
    """The error that an answer tells of: of its own class where this release knows it."""
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        kind = _BY_STATUS.get(status, UnreadableAnswerError)
        return kind(f"the API answers {status}, and does not say why")
    code = problem.type.removeprefix(PROBLEM_TYPE)
    kind = _by_code().get(code) or _BY_STATUS.get(status, UnreadableAnswerError)
    # Not by its own constructor: that one makes the message, which is here already.
    error = kind.__new__(kind)
    FactoryError.__init__(error, problem.detail, hint=problem.hint)
    error.run_id = problem.run_id
    if isinstance(error, TransientError):
        error.retry_after = retry_after_of(headers)
    if isinstance(error, ProblemsError):
        error.problems = tuple(
            errors.Problem(one.pointer, 0, 0, one.code or code, one.message, one.hint)
            for one in problem.errors
        )
    return error


def retry_after_of(headers: Mapping[str, str]) -> timedelta | None:
    """How long the server asks to wait."""
    text = headers.get("retry-after", "")
    return timedelta(seconds=int(text)) if text.isdecimal() else None


@cache
def _by_code() -> Mapping[str, type[FactoryError]]:
    return {_code_of(kind): kind for kind in _all_of(FactoryError)}


def _all_of(kind: type[FactoryError]) -> Iterator[type[FactoryError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
        yield from _all_of(one)


def _code_of(kind: type[FactoryError]) -> str:
    blank = kind.__new__(kind)
    return blank.code
