"""Who may ask for what: each route names the right that it takes, and nothing goes without."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from api.context import api_of
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.errors import UnauthenticatedError
from factory_runtime.services.audit import acting
from factory_runtime.telemetry.logs import dimensions


class Needs:
    """A dependency that gives who asks, once they have shown it and have the right somewhere.

    Attributes:
        right: of the tenant, or of one project at least: the route looks at which. None is none at
            all, for what concerns nobody but who asks.
        searches: whether it may ask an embedding model: those wait for each other, and no other
            request for them.
    """

    def __init__(self, right: Right | None, *, searches: bool = False) -> None:
        self.right = right
        self.searches = searches

    async def __call__(self, request: Request) -> AsyncGenerator[Principal]:
        principal = _recall(request) or await run_in_threadpool(_admit, request)
        if self.right is not None:
            principal.require(self.right)
        here = principal.origin or address_of(request)
        api = api_of(request)
        turns = api.searches if self.searches else api.turns
        async with turns.turn(principal.tenant_id):
            with acting(here, principal.key_id), dimensions(tenantId=principal.tenant_id):
                yield principal


class FromAddress:
    """ASGI: the audit says where a request came from, whatever is done for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        with acting(None if client is None else client[0]):
            await self._app(scope, receive, send)


def address_of(request: Request) -> str | None:
    """The other end's; a proxy that is trusted names it."""
    return None if request.client is None else request.client.host


def _recall(request: Request) -> Principal | None:
    """Who asks, where that and their count take no look at anything: no thread is taken then."""
    api = api_of(request)
    if not api.limiter.counts_here:
        return None
    principal = next(filter(None, (one.recall(request) for one in api.authenticators)), None)
    if principal is not None:
        api.limiter.count(principal)
    return principal


def _admit(request: Request) -> Principal:
    """Who asks, once their request is counted."""
    limiter = api_of(request).limiter
    try:
        principal = authenticate(request)
    except UnauthenticatedError:
        limiter.count_guess(request.client.host if request.client is not None else "")
        raise
    limiter.count(principal)
    return principal


def authenticate(request: Request) -> Principal:
    """Who asks.

    Raises:
        UnauthenticatedError: nobody has shown who they are.
    """
    for authenticator in api_of(request).authenticators:
        principal = authenticator.find(request)
        if principal is not None:
            return principal
    raise UnauthenticatedError(
        "this takes a credential", hint="send it as `Authorization: Bearer …`"
    )


# Until the route has answered: a stream is open for long, and takes no thread.
Anybody = Annotated[Principal, Depends(Needs(None), scope="function")]
Reader = Annotated[Principal, Depends(Needs(Right.READ), scope="function")]
Searcher = Annotated[Principal, Depends(Needs(Right.READ, searches=True), scope="function")]
Requester = Annotated[Principal, Depends(Needs(Right.REQUEST), scope="function")]
Decider = Annotated[Principal, Depends(Needs(Right.DECIDE), scope="function")]
Operator = Annotated[Principal, Depends(Needs(Right.OPERATE), scope="function")]
Admin = Annotated[Principal, Depends(Needs(Right.ADMINISTER), scope="function")]
