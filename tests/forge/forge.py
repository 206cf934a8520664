"""What a test says to the forge, and what it looks at there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from tests.forge import builds, hooks, pull_requests
from tests.forge.app import App, Seen
from tests.forge.faults import Cut, Fault, throttled
from tests.forge.serving import issued, serving
from tests.forge.speech import Token
from tests.forge.world import Json, Project, Protection, Repo, World, now

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
        organization: str | None = None,
        expired: bool = False,
    ) -> str:
        """One for Basic or Bearer; without permissions it may do everything.

        Where an organization is named, it is a stranger's in all others.
        """
        token = Token(
            f"fake{secrets.token_hex(24)}",
            user,
            frozenset(permissions) if permissions else None,
            None if scopes is None else frozenset(scopes),
            organization,
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

    def push(self, project: str, name: str, files: Mapping[str, str], branch: str = "main") -> str:
        """Somebody's commit; its id."""
        return self.repository(project, name).commit(files, branch, "Change by somebody")

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
        takes ``times=2`` to keep a push from being done, or its second from telling of the first. A push of more than a
        megabyte asks whether it may before it does.
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

    # what people, and agents of pipelines, do

    def start_build(self, build: int) -> None:
        self.world.builds[build] |= {"status": "inProgress", "startTime": now()}

    def finish_build(self, build: int, result: str = "succeeded", log: str = "") -> None:
        """With a log of these lines."""
        builds.end(self.world, build, result, log)

    def finish_builds_at_once(self, result: str | None = "succeeded") -> None:
        """Those that are queued from now on; with None none any more."""
        self.world.builds_end_at_once = result

    def complete_pull_request(
        self, number: int, strategy: str = "noFastForward", *, deletes_branch: bool = False
    ) -> None:
        """As somebody does whom policies let; by ``squash``, say."""
        one = self.world.pull_requests[number]
        pull_requests.merge(self.world, one, Token("", "bob@example.com"), strategy)
        if deletes_branch:
            self.world.repositories[one["repository"]].git("update-ref", "-d", one["sourceRefName"])

    def tell_of_build(self, build: int) -> list[int]:
        """Tell whoever is subscribed that it is complete; the statuses of their answers."""
        one = builds.told(self.world, self.world.builds[build])
        project = next(each for each in self.world.projects if each.id == one["project"]["id"])
        return [each.status_code for each in hooks.tell(self.world, project, "build.complete", one)]

    # what came of it

    def repositories(self, project: str) -> list[str]:
        """Names."""
        return [one.name for one in self._repositories(project)]

    def repository(self, project: str, name: str) -> Repo:
        """With its folder, that git reads."""
        return self.world.repository(ORGANIZATION, project, name)

    def pull_requests(self, project: str) -> list[Json]:
        """As they are kept; so with the others."""
        homes = {one.id for one in self._repositories(project)}
        return [one for one in self.world.pull_requests.values() if one["repository"] in homes]

    def pipelines(self, project: str) -> list[Json]:
        return self._of(project, self.world.definitions)

    def builds(self, project: str) -> list[Json]:
        return self._of(project, self.world.builds)

    def work_items(self, project: str) -> list[Json]:
        return self._of(project, self.world.work_items)

    def hooks(self) -> list[Json]:
        return list(self.world.hooks.values())

    def _of(self, project: str, kept: Mapping[int, Json]) -> list[Json]:
        inside = self.world.project(ORGANIZATION, project).id
        return [one for one in kept.values() if one["project"] == inside]

    def _repositories(self, project: str) -> list[Repo]:
        inside = self.world.project(ORGANIZATION, project)
        return [one for one in self.world.repositories.values() if one.project == inside]

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
def running_forge(
    folder: Path,
    *,
    tls: bool = False,
    checks: bool = True,
    app: Callable[[Forge], ASGIApp] = lambda forge: forge.app,
) -> Generator[Forge]:
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
    with serving(app(forge), own) as url:
        forge.world.url = url
        yield forge
    assert not (checks and forge.wrong), forge.wrong
