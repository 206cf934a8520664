"""Git hosts as tests see them: each with what people can see and do there."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops.access import AzureDevOps, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.host import AzureDevOpsGitHost
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.ports import Commit, CommitOrder, GitHost, Repository
from tests.forge import Forge

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


class Outside(Protocol):
    """A host, and what people can see and do there."""

    @property
    def host(self) -> GitHost: ...

    def files(self, name: str) -> dict[str, TreeFile]: ...

    def messages(self, name: str) -> list[str]:
        """Of the default branch's commits, oldest first."""
        ...

    def head(self, name: str) -> str:
        """Id of the default branch's last commit."""
        ...

    def push(self, name: str, *files: TreeFile) -> None: ...


class MemoryOutside:
    def __init__(self) -> None:
        self.host = InMemoryGitHost()

    def files(self, name: str) -> dict[str, TreeFile]:
        return self.host.files("acme", "shop", name)

    def messages(self, name: str) -> list[str]:
        return [commit.message for commit in self.host.commits("acme", "shop", name)]

    def head(self, name: str) -> str:
        return self.host.commits("acme", "shop", name)[-1].sha

    def push(self, name: str, *files: TreeFile) -> None:
        self.host.push("acme", "shop", name, *files)


class BareOutside:
    """People at work in bare repositories of a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bare(self, name: str) -> Path:
        """The folder of a repository of ours."""
        raise NotImplementedError

    def make_bare(self, name: str) -> None:
        """As somebody else would."""
        raise NotImplementedError

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *arguments],
            cwd=cwd or self.folder,
            check=True,
            capture_output=True,
        )
        return done.stdout.decode()

    def clone(self, name: str) -> Path:
        self.cloned = getattr(self, "cloned", 0) + 1
        place = self.folder / f"clone-{self.cloned}"
        self.git("clone", "--quiet", self.bare(name).as_uri(), str(place))
        return place

    def files(self, name: str) -> dict[str, TreeFile]:
        place = self.clone(name)
        found: dict[str, TreeFile] = {}
        for path in self.git("ls-files", "-z", cwd=place).split("\0")[:-1]:
            file = place / path
            if file.is_symlink():
                found[path] = TreeFile(path, b"", link=str(file.readlink()))
            else:
                found[path] = TreeFile(path, file.read_bytes(), bool(file.stat().st_mode & 0o100))
        return found

    def messages(self, name: str) -> list[str]:
        place = self.clone(name)
        printed = self.git("log", "--reverse", "--format=%B%x00", "origin/main", cwd=place)
        return [message.lstrip("\n") for message in printed.split("\0")[:-1]]

    def head(self, name: str) -> str:
        return self.git("rev-parse", "HEAD", cwd=self.clone(name)).strip()

    def push(self, name: str, *files: TreeFile) -> None:
        self.make_bare(name)
        place = self.clone(name)
        for file in files:
            (place / file.path).parent.mkdir(parents=True, exist_ok=True)
            (place / file.path).write_bytes(file.content)
        self.git("add", ".", cwd=place)
        self.git("commit", "--quiet", "-m", "By hand", cwd=place)
        self.git("push", "--quiet", "origin", "HEAD:main", cwd=place)


class LocalOutside(BareOutside):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.host = LocalGitHost(folder / "git host")

    def bare(self, name: str) -> Path:
        return self.folder / "git host" / "acme" / "shop" / f"{name}.git"

    def make_bare(self, name: str) -> None:
        if not self.bare(name).exists():
            self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare(name)))


class AzureOutside(BareOutside):
    """An organization that two tenants share, each with projects of its own."""

    def __init__(self, folder: Path, forge: Forge) -> None:
        super().__init__(folder)
        self.forge = forge
        self.machines = 0
        for project in ("acme-shop", "acme-other", "globex-shop"):
            forge.add_project(project)
        self.host = self.a_host(folder / "mirrors")

    def a_host(self, mirrors: Path, token: str | None = None) -> AzureDevOpsGitHost:
        """As another process, or another machine, opens it."""
        tokens = personal_token(token or self.forge.add_token())
        self.access = AzureDevOps(self.forge.url, tokens, "{tenant}-{project}")
        return AzureDevOpsGitHost(AzureDevOpsClient(self.access), mirrors, lambda: AT)

    def elsewhere(self) -> AzureOutside:
        """From now on another machine, which has no copy of anything."""
        self.machines += 1
        self.host = self.a_host(self.folder / f"mirrors-{self.machines}")
        return self

    def bare(self, name: str) -> Path:
        return self.forge.repository("acme-shop", name).folder

    def make_bare(self, name: str) -> None:
        if name not in self.forge.repositories("acme-shop"):
            self.forge.add_repository("acme-shop", name)


def ensure_repository(outside: Outside, run: str = "run-1", name: str = "orders") -> Repository:
    return outside.host.ensure_repository(
        "acme", "shop", name, effect_key=f"{run}:generate", description="Takes orders"
    )


def an_order(
    step: str, run: str = "run-1", *, follows: tuple[str, ...] = (), message: str = "Do it"
) -> CommitOrder:
    return CommitOrder(
        project_id="shop",
        repository="orders",
        message=message,
        trailers=(("Factory-Run", run), ("Factory-Step", step), ("Factory-Template", "t@1.0.0")),
        author="Ann Example",
        at=AT,
        follows=frozenset(follows),
    )


def commit(outside: Outside, order: CommitOrder, **files: str) -> Commit:
    tree = [TreeFile(path, content.encode()) for path, content in files.items()]
    return outside.host.ensure_commit("acme", order, iter(tree))


def contents(outside: Outside) -> dict[str, str]:
    return {path: file.content.decode() for path, file in outside.files("orders").items()}
