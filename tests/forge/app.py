"""The forge as an ASGI app: a request's way from the socket to its handler, and back."""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.forge import (
    builds,
    git_objects,
    hooks,
    pipelines,
    policies,
    pull_requests,
    repositories,
    runs,
    work_items,
)
from tests.forge.doors import check_token, check_version, given_token, sign_in_page, to_stranger
from tests.forge.faults import BLOCKED, Cut, Fault, Faults
from tests.forge.git_http import SERVICES, GitAnswer, lacking, refusal, serve
from tests.forge.route import Needs, Route
from tests.forge.shapes import wrong_with
from tests.forge.speech import Answer, Asked, RefusedError, Token
from tests.forge.world import World

_AREAS = (
    repositories,
    git_objects,
    pull_requests,
    policies,
    pipelines,
    builds,
    runs,
    work_items,
    hooks,
)
ROUTES = tuple(route for area in _AREAS for route in area.ROUTES)
_GIT = Route("git", "", "", lambda _world, _asked: Answer(), Needs())


@dataclass(frozen=True)
class Seen:
    """A request that came in; ``route`` is its name, or None of one that the forge lacks."""

    method: str
    route: str | None
    path: str
    user: str | None
    body: Any = None


@dataclass(frozen=True)
class Call:
    """A request, read whole."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class App:
    """Answers for a world.

    Attributes:
        seen: all that was asked, in order.
        wrong: what fails the test: routes that the forge lacks, requests and answers that have not
            the published shape.
        latency: seconds before each answer.
        redirects_strangers: to sign in by 302, instead of by a page with 203.
    """

    world: World
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list[Seen])
    wrong: list[str] = field(default_factory=list[str])
    latency: float = 0
    redirects_strangers: bool = False

    @cached_property
    def routes(self) -> list[tuple[re.Pattern[str], Route]]:
        return [(route.pattern, route) for route in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return  # killed while it asked
        query = scope["query_string"].decode()
        call = Call(scope["method"], scope["path"], query, Headers(scope=scope), body)
        route, parts = self._route(call)
        name = route.name if route else "unknown"
        fault = self.faults.take(name) or Fault(name)
        if wait := self.latency + fault.seconds:
            await asyncio.sleep(wait)
        if fault.cut is Cut.BEFORE:
            self._see(call, name)
            _drop(scope)
            return
        if fault.status is not None:
            self._see(call, name)
            response = _response(_instead(fault))
        else:
            response = await asyncio.to_thread(self._answered, call, route, parts)
            response.headers.update(fault.headers)
        if fault.cut is Cut.AFTER:
            _drop(scope)
            return
        if fault.cut is Cut.AMID:
            await _send_half(response, scope, send)
            return
        await response(scope, receive, send)

    def _see(self, call: Call, name: str | None) -> None:
        token = given_token(self.world, call.headers, call.path)
        try:
            body = json.loads(call.body) if call.body else None
        except ValueError:
            body = None
        self.seen.append(Seen(call.method, name, call.path, token.user if token else None, body))

    def _route(self, call: Call) -> tuple[Route | None, dict[str, str]]:
        """And the parts of its path. Git's is named for what it does."""
        if "/_git/" in call.path:
            return _git_route(call)
        for pattern, route in self.routes:
            found = pattern.match(call.path) if route.method == call.method else None
            if found:
                return route, found.groupdict()
        return None, {}

    def _answered(self, call: Call, route: Route | None, parts: Mapping[str, str]) -> Response:
        try:
            return self._answer(call, route, parts)
        except Exception:
            self.wrong.append(f"the forge failed at {call.path}: {traceback.format_exc()}")
            return Response("The forge failed.", 500)

    def _answer(self, call: Call, route: Route | None, parts: Mapping[str, str]) -> Response:
        self._see(call, route.name if route else None)
        if call.path == "/_signin":
            return _response(sign_in_page())
        if route is None:
            return self._unknown(f"{call.method} {call.path}")
        token = given_token(self.world, call.headers, call.path)
        if route.name.startswith("git."):
            told = self._git(call, token, parts)
            return Response(told.body, told.status, dict(told.headers))
        if token is None:
            return _response(to_stranger(self.world, self.redirects_strangers))
        query = dict(QueryParams(call.query))
        unknown = query.keys() - {*route.query, "api-version"}
        if unknown:
            return self._unknown(f"{route.name}: parameters {sorted(unknown)}")
        try:
            check_version(route, query.get("api-version"))
            check_token(token, route)
            body = self._body(call, route)
            accept = call.headers.get("accept", "application/json")
            with self.world.lock:
                answer = route.handler(self.world, Asked(parts, query, body, token, accept))
        except RefusedError as refused:
            return _response(refused.answer)
        except NotImplementedError as unknown:
            return self._unknown(f"{route.name}: {unknown}")
        return self._checked(route, answer)

    def _body(self, call: Call, route: Route) -> Any:
        if route.takes is None:
            return None
        told = call.headers.get("content-type", "").partition(";")[0]
        if told != route.content:
            message = (
                f'The request indicated a Content-Type of "{told}" for method type "{call.method}" '
                f"which is not supported. Valid content types for this method are: {route.content}."
            )
            raise RefusedError(415, "VssRequestContentTypeNotSupportedException", message)
        try:
            body = json.loads(call.body)
        except ValueError:
            raise RefusedError(400, "VssPropertyValidationException", "no JSON") from None
        if wrong := wrong_with(route.takes, body):
            self.wrong.append(f"{route.name} was asked for {wrong}")
            raise RefusedError(400, "VssPropertyValidationException", wrong)
        return body

    def _checked(self, route: Route, answer: Answer) -> Response:
        if isinstance(answer.body, bytes) or route.answers is None:
            return _response(answer)
        body: Any = answer.body
        if route.answers.endswith("[]"):
            body = {"count": len(body), "value": body}
        if wrong := wrong_with(route.answers, body):
            self.wrong.append(f"{route.name} would answer {wrong}")
            return Response("The forge's answer has not the published shape.", 500)
        return _response(Answer(body, answer.status, answer.headers))

    def _unknown(self, what: str) -> Response:
        self.wrong.append(f"the forge knows no {what}")
        return Response(f"The forge knows no {what}.", 501)

    def _git(self, call: Call, token: Token | None, parts: Mapping[str, str]) -> GitAnswer:
        service = parts["service"]
        if token is None or token.expired:
            asks = {"WWW-Authenticate": 'Basic realm="https://tfsprodweu3.visualstudio.com/"'}
            return GitAnswer(401, asks, b"")
        try:
            repo = self.world.repository(parts["organization"], parts["project"], parts["name"])
        except RefusedError as refused:
            return refusal(service, parts["rest"], refused.status, refused.message)
        if repo.disabled:
            return refusal(service, parts["rest"], 404, f"TF401019: {repo.name} is disabled.")
        permission = SERVICES[service]
        scope = "vso.code" if permission == "GenericRead" else "vso.code_write"
        if not token.may(permission) or not token.has_scope(scope):
            return refusal(service, parts["rest"], 403, lacking(permission, token))
        asked = (call.method, parts["rest"], call.query, call.headers, call.body)
        return serve(self.world, repo, token, *asked)


def _git_route(call: Call) -> tuple[Route | None, dict[str, str]]:
    """``/organization/project/_git/name/…``; the project is left out where it has this name."""
    before, _, after = call.path.partition("/_git/")
    name, _, rest = after.partition("/")
    service = rest if rest in SERVICES else QueryParams(call.query).get("service", "")
    if service not in SERVICES or rest not in ("info/refs", service):
        return None, {}
    organization, _, project = before.strip("/").partition("/")
    does = "fetch" if service == "git-upload-pack" else "push"
    route = replace(_GIT, name=f"git.{does}.refs" if rest == "info/refs" else f"git.{does}")
    parts = {
        "organization": organization,
        "project": project or name,
        "name": name,
        "service": service,
        "rest": rest,
    }
    return route, parts


def _instead(fault: Fault) -> Answer:
    status = fault.status or 200
    if fault.body is not None:
        return Answer(fault.body, status, fault.headers)
    message = BLOCKED if status == 429 else "TF400898: An Internal Error Occurred."
    refused = RefusedError(status, "VssServiceException", message).answer
    return Answer(refused.body, status, fault.headers)


def _response(answer: Answer) -> Response:
    if isinstance(answer.body, bytes):
        return Response(answer.body, answer.status, dict(answer.headers))
    if answer.body is None:
        return Response(None, answer.status, dict(answer.headers))
    headers = {"Content-Type": "application/json; charset=utf-8; api-version=7.1", **answer.headers}
    return Response(json.dumps(answer.body), answer.status, headers)


async def _send_half(response: Response, scope: Scope, send: Send) -> None:
    body = bytes(response.body)
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    await asyncio.sleep(0.05)  # let it out first
    _drop(scope)


def _drop(scope: Scope) -> None:
    """End the connection without a word."""
    scope["extensions"]["forge.connection"].abort()
