"""What a test says to the forge, and what it looks at there."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.forge.app import App, Seen
from tests.forge.faults import Cut, Fault, throttled
from tests.forge.serving import issued, serving
from tests.forge.speech import Token
from tests.forge.world import Project, Protection, Repo, World

ORGANIZATION = "fabrikam"


class Forge:
    """A fake Azure DevOps.

    Attributes:
        url: of an organization: what a client is configured with.
        authority: that a client has to trust, of one that speaks TLS.
    """

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.app = App(self.world)
        self.authority: Path | None = None

    @property
    def url(self) -> str:
        return f"{self.world.url}/{ORGANIZATION}"

    # what there is before a test begins

    def add_project(self, name: str, organization: str = ORGANIZATION) -> Project:
        project = Project(organization, name)
        self.world.projects.append(project)
        return project

    def add_token(
        self,
        *permissions: str,
        scopes: tuple[str, ...] | None = None,
        user: str = "ada@example.com",
        expired: bool = False,
    ) -> str:
        """One for Basic or Bearer; without permissions it may do everything."""
        token = Token(
            f"fake{secrets.token_hex(24)}",
            user,
            frozenset(permissions) if permissions else None,
            None if scopes is None else frozenset(scopes),
            expired,
        )
        self.world.tokens[token.value] = token
        return token.value

    def expire(self, token: str) -> None:
        self.world.tokens[token] = replace(self.world.tokens[token], expired=True)

    def revoke(self, token: str) -> None:
        """From now on it is a stranger's."""
        del self.world.tokens[token]

    def add_repository(self, project: str, name: str) -> str:
        """One that is none of ours: made by somebody else. Its id."""
        return self.world.add_repository(self.world.project(ORGANIZATION, project), name).id

    def protect(self, project: str, branch: str = "main", repository: str | None = None) -> None:
        """Have a branch take pull requests alone: in one repository, or in all of the project."""
        inside = self.world.project(ORGANIZATION, project)
        named = self.repository(project, repository).id if repository else None
        ids = next(self.world.ids)
        self.world.protections.append(Protection(inside.id, branch, named, id=ids))

    def unprotect(self) -> None:
        self.world.protections.clear()

    # what goes wrong

    def cut(self, route: str, when: str = "after", skips: int = 0, times: int = 1) -> None:
        """Drop the connection ``before`` or ``after`` it was done, or ``amid`` the answer.

        Git's curl sends again, by itself, what was cut on a connection that it had used before: it
        takes ``times=2`` to keep a push from being done, or its second from telling of the first.
        """
        self.app.faults.add(Fault(route, skips, times, Cut(when)))

    def answer(
        self,
        route: str,
        status: int,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        skips: int = 0,
        times: int = 1,
    ) -> None:
        """Answer this, and do nothing."""
        self.app.faults.add(Fault(route, skips, times, None, status, headers or {}, body))

    def throttle(self, route: str = "*", seconds: int = 60, skips: int = 0, times: int = 1) -> None:
        """Refuse, for so long."""
        self.answer(route, 429, None, throttled(seconds), skips, times)

    def slow_down(
        self, route: str = "*", seconds: int = 60, skips: int = 0, times: int = 1
    ) -> None:
        """Do what is asked, and say that the next request should wait."""
        self.app.faults.add(Fault(route, skips, times, headers=throttled(seconds)))

    def delay(self, route: str, seconds: float, skips: int = 0, times: int = 1) -> None:
        self.app.faults.add(Fault(route, skips, times, seconds=seconds))

    def set_latency(self, seconds: float) -> None:
        """Before each answer."""
        self.app.latency = seconds

    def redirect_strangers(self, redirects: bool = True) -> None:
        """Whom it does not know: by 302, instead of the page with 203."""
        self.app.redirects_strangers = redirects

    def forget_faults(self) -> None:
        self.app.faults.pending.clear()

    # what came of it

    def repositories(self, project: str) -> list[str]:
        """Names."""
        inside = self.world.project(ORGANIZATION, project)
        return [one.name for one in self.world.repositories.values() if one.project == inside]

    def repository(self, project: str, name: str) -> Repo:
        """With its folder, that git reads."""
        return self.world.repository(ORGANIZATION, project, name)

    def git_url(self, project: str, name: str) -> str:
        repo = self.repository(project, name)
        return self.world.page(repo.project, f"_git/{name}")

    @property
    def seen(self) -> list[Seen]:
        return self.app.seen

    def count(self, route: str) -> int:
        """How often a route was asked."""
        return sum(one.route == route for one in self.app.seen)

    @property
    def wrong(self) -> list[str]:
        """What fails the test; one that means it clears it."""
        return self.app.wrong


@contextmanager
def running_forge(folder: Path, *, tls: bool = False, checks: bool = True) -> Generator[Forge]:
    """One on a fresh port, with the project ``shop``.

    At its end it fails the test if a client has asked for what the forge does not have, or in
    another shape than the published one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forge = Forge(folder)
    forge.add_project("shop")
    own = None
    if tls:
        own, forge.authority = issued(folder)
    with serving(forge.app, own) as url:
        forge.world.url = url
        yield forge
    assert not (checks and forge.wrong), forge.wrong
