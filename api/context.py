"""What every request has at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from api.limits import Limiter
from api.streams import Streams
from api.turns import SearchTurns, Turns
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal

_STREAMS = 200
_STREAMS_OF_TENANT = 100


class Authenticator(Protocol):
    """One way of showing who asks."""

    def recall(self, request: Request) -> Principal | None:
        """Who asks, where nothing has to be looked at to know it; else None, and ``find`` tells."""
        ...

    def find(self, request: Request) -> Principal | None:
        """Who asks; None where the request carries no credential of this kind.

        Raises:
            UnauthenticatedError: it carries one, and it is not good.
        """
        ...


@dataclass(frozen=True)
class Api:
    """The application's own: one for each process.

    Attributes:
        authenticators: asked in turn; the first that finds somebody counts.
    """

    runtime: Runtime
    limiter: Limiter
    authenticators: Sequence[Authenticator] = ()
    turns: Turns = field(default_factory=Turns)
    searches: SearchTurns = field(default_factory=SearchTurns)
    streams: Streams = field(default_factory=lambda: Streams(_STREAMS, _STREAMS_OF_TENANT))


def api_of(request: Request) -> Api:
    """The application's own, from a request."""
    return cast("Api", request.app.state.api)


async def _here(request: Request) -> Api:
    # In the event loop: what is no coroutine would take the way through a thread.
    return api_of(request)


Here = Annotated[Api, Depends(_here)]
