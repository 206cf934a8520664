"""What the forge holds: projects, repositories, and what was made of them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from tests.forge.speech import RefusedError, Token

NOBODY = "0" * 40
Json = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Project:
    """A project of an organization."""

    organization: str
    name: str
    id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Repo:
    """A repository; ``deleted`` says when and by whom, of one in the recycle bin."""

    project: Project
    name: str
    folder: Path
    id: str = field(default_factory=lambda: str(uuid4()))
    disabled: bool = False
    deleted: Mapping[str, Any] | None = None

    def git(self, *arguments: str, given: str = "", fails: bool = False) -> str:
        """What git says; nothing where it may fail, and does."""
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=given.encode(),
            capture_output=True,
            check=False,
            env=GIT_ENVIRONMENT,
        )
        if done.returncode and not fails:
            raise AssertionError(done.stderr.decode())
        return "" if done.returncode else done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str], branch: str, message: str) -> str:
        """Put files onto a branch, as somebody's push would; the commit's id."""
        ref = f"refs/heads/{branch}"
        lines = [f"commit {ref}", f"committer Forge <forge@example.com> {int(time.time())} +0000"]
        lines += [f"data {len(message.encode())}\n{message}"]
        lines += [f"from {ref}^0"] if ref in self.refs() else []
        for path, body in files.items():
            lines.append(f"M 100644 inline {path}\ndata {len(body.encode())}\n{body}")
        self.git("fast-import", "--quiet", given="\n".join([*lines, ""]))
        return self.refs()[ref]

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Where branches and tags are at; read as git keeps them, which takes no process."""
        found: dict[str, str] = {}
        packed = self.folder / "packed-refs"
        for line in packed.read_text().splitlines() if packed.exists() else ():
            if line[0] not in "#^":
                sha, name = line.split(" ", 1)
                found[name] = sha
        for file in (self.folder / "refs").rglob("*"):
            if file.is_file() and file.suffix != ".lock":
                found[file.relative_to(self.folder).as_posix()] = file.read_text().strip()
        return {name: found[name] for name in sorted(found) if name.startswith(prefix)}

    @property
    def default_branch(self) -> str | None:
        """None of an empty one. The first branch that is pushed becomes it."""
        branches = self.refs("refs/heads/")
        head = (self.folder / "HEAD").read_text().strip().removeprefix("ref: ")
        if head not in branches and branches:
            head = next(iter(branches))
            self.git("symbolic-ref", "HEAD", head)
        return head if branches else None


@dataclass(frozen=True)
class Protection:
    """A policy that keeps pushes away from a branch.

    Attributes:
        repository: its id; None is every one of the project.
        kind: what the policy asks for, by its published type.
    """

    project: str
    branch: str
    repository: str | None = None
    kind: str = "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd"  # minimum number of reviewers
    id: int = 0

    def covers(self, repo: Repo) -> bool:
        return self.project == repo.project.id and self.repository in (None, repo.id)


@dataclass
class World:
    """Everything there is, and the ids that come next."""

    folder: Path
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    projects: list[Project] = field(default_factory=list[Project])
    repositories: dict[str, Repo] = field(default_factory=dict[str, Repo])
    recycled: dict[str, Repo] = field(default_factory=dict[str, Repo])
    protections: list[Protection] = field(default_factory=list[Protection])
    tokens: dict[str, Token] = field(default_factory=dict[str, Token])
    pull_requests: dict[int, Json] = field(default_factory=dict[int, Json])
    definitions: dict[int, Json] = field(default_factory=dict[int, Json])
    builds: dict[int, Json] = field(default_factory=dict[int, Json])
    logs: dict[int, list[list[str]]] = field(default_factory=dict[int, list[list[str]]])
    work_items: dict[int, Json] = field(default_factory=dict[int, Json])
    hooks: dict[str, Json] = field(default_factory=dict[str, Json])
    builds_end_at_once: str | None = None
    ids: count[int] = field(default_factory=lambda: count(1))

    def project(self, organization: str, name: str) -> Project:
        """By id, or by name in any case, as everything here is found."""
        for project in self.projects:
            is_named = name.casefold() in (project.name.casefold(), project.id)
            if project.organization.casefold() == organization.casefold() and is_named:
                return project
        message = (
            f"TF200016: The following project does not exist: {name}. Verify that the name of the "
            "project is correct and that the project exists on the specified Azure DevOps Server."
        )
        raise RefusedError(404, "ProjectDoesNotExistWithNameException", message)

    def repository(self, organization: str, project: str | None, name: str) -> Repo:
        wanted = name.casefold()
        inside = self.project(organization, project) if project else None
        for repo in self.repositories.values():
            here = repo.project.organization.casefold() == organization.casefold()
            # Without a project, only an id will do.
            is_named = wanted == repo.id or (inside and wanted == repo.name.casefold())
            if here and is_named and inside in (None, repo.project):
                return repo
        message = (
            f"TF401019: The Git repository with name or identifier {name} does not exist or you "
            "do not have permissions for the operation you are attempting."
        )
        raise RefusedError(404, "GitRepositoryNotFoundException", message)

    def add_repository(self, project: Project, name: str) -> Repo:
        repo = Repo(project, name, self.folder / f"{uuid4()}.git")
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repo.folder)],
            check=True,
            env=GIT_ENVIRONMENT,
        )
        # Azure DevOps lets objects be fetched by their ids, and pushes of deletions through.
        with (repo.folder / "config").open("a") as config:
            config.write(
                "[http]\n\treceivepack = true\n[uploadpack]\n\tallowAnySHA1InWant = true\n"
            )
        self.repositories[repo.id] = repo
        return repo

    def change_repository(self, repo: Repo, **changes: Any) -> Repo:
        self.repositories[repo.id] = changed = replace(repo, **changes)
        return changed

    def protected(self, repo: Repo) -> frozenset[str]:
        """Names of its branches that take no pushes."""
        names = {one.branch for one in self.protections if one.covers(repo)}
        return frozenset(f"refs/heads/{name.removeprefix('refs/heads/')}" for name in names)

    # how things are named

    def identity(self, token: Token) -> Json:
        return {
            "displayName": token.user.split("@")[0].title(),
            "url": f"{self.url}/_apis/Identities/{token.id}",
            "id": token.id,
            "uniqueName": token.user,
        }

    def api(self, project: Project, path: str) -> str:
        return f"{self.url}/{project.organization}/{project.id}/_apis/{path}"

    def page(self, project: Project, path: str) -> str:
        return f"{self.url}/{project.organization}/{quote(project.name)}/{path}"


GIT_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Forge",
    "GIT_AUTHOR_EMAIL": "forge@example.com",
    "GIT_COMMITTER_NAME": "Forge",
    "GIT_COMMITTER_EMAIL": "forge@example.com",
    "LC_ALL": "C",
}
