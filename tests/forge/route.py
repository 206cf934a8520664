"""A route of the forge: what it takes, what it answers, and who may ask."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.routing import compile_path

from tests.forge.speech import Answer, Asked
from tests.forge.world import World

Handler = Callable[[World, Asked], Answer]


@dataclass(frozen=True)
class Needs:
    """What a token has to have.

    Attributes:
        permission: whose lack is answered by 403, by its name; a Git permission is told as one.
        scope: of a personal access token, as the Swagger of the route names it.
    """

    permission: str | None = None
    scope: str | None = None


@dataclass(frozen=True)
class Route:
    """One operation of the published API.

    Attributes:
        name: for tests, like ``repositories.create``.
        path: after the organization; one that begins with ``project`` takes a project.
        needs: what whoever asks has to have.
        answers: shape of the answer's body; None where there is none, or no JSON.
        takes: shape of the request's body.
        query: parameters that it knows.
        preview: whether it is there only as a preview of its version.
        content: type that a body has to have.
    """

    name: str
    method: str
    path: str
    handler: Handler
    needs: Needs
    answers: str | None = None
    takes: str | None = None
    query: tuple[str, ...] = ()
    preview: bool = False
    content: str = "application/json"

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of its path, in any case, as the service takes it."""
        regex, _, _ = compile_path("/{organization}" + self.path)
        return re.compile(regex.pattern, re.IGNORECASE)


def both(route: Route) -> tuple[Route, Route]:
    """One that may be asked of a project or of the whole organization."""
    return route, replace(route, path=route.path.removeprefix("/{project}"))
