"""Bodies that are JSON are I-JSON (RFC 7493), so that nobody can read them in two ways.

They are UTF-8, no object has a key twice, text has no lone surrogates, and numbers are numbers that
JSON and a double can hold. What is signed is not looked at here: it is verified as it came first.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer, plain_problem

_MAY_BE_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_NUMBER = 1100
"""Any double can be written in so many characters; to read more takes their square in time."""
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")


class StrictJson:
    """ASGI: answers 400 to JSON that is ambiguous, and hands on the rest as it came.

    Args:
        app: what is behind it.
        beside: paths that begin so are let through.
    """

    def __init__(self, app: ASGIApp, beside: str) -> None:
        self._app = app
        self._beside = beside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._concerns(scope):
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        try:
            while not messages or messages[-1].get("more_body", False):
                messages.append(await receive())
        except (
            HTTPException
        ) as exc:  # it is too large or too slow, which the application is to hear itself
            await self._app(scope, _raising(exc), send)
            return
        is_whole = messages[-1]["type"] == "http.request"  # else whoever sent it is gone
        why = why_not(b"".join(one.get("body", b"") for one in messages)) if is_whole else None
        if why is not None:
            problem = plain_problem(400, "invalid-json", f"the body is no JSON that counts: {why}")
            await answer(problem)(scope, receive, send)
            return
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    def _concerns(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            return False
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        is_json = kind == "application/json" or kind.endswith("+json")
        return is_json and not scope["path"].startswith(self._beside)


def _raising(error: HTTPException) -> Receive:
    async def receive() -> Message:
        raise error

    return receive


def why_not(body: bytes) -> str | None:
    """Why a body is no I-JSON; None where it is, or where there is none at all."""
    if not body:
        return None
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_float=_finite,
        )
        if _MAY_BE_LONE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except UnicodeEncodeError:
        return "it has half of a character"
    except RecursionError:
        return "it is nested too deep"
    except ValueError as exc:  # JSONDecodeError is one, and an integer of too many digits
        return str(exc)
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _finite(text: str) -> float:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a number has more digits than a double can hold")
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is larger than a double can hold")
    return number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
