"""Reads a folder of a git repository at one commit: plain files, bounded, and nothing else."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import certifi

from factory_runtime.domain.disk import disk_errors
from factory_runtime.domain.errors import (
    DataRefusedError,
    FactoryError,
    HostBusyError,
    HostileTemplateError,
    TemplateNotFoundError,
    TemplateRefusedError,
)
from factory_runtime.domain.git_location import GitLocation
from factory_runtime.domain.tree import safe_path
from factory_runtime.hosts.bounded_git import BoundedGit, GitRefusedError, OverLimitError
from factory_runtime.hosts.git_complaints import meaning_of
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import check_tree
from factory_runtime.jobs.report.locations import addresses_of, port_of
from factory_runtime.ports import FetchedTemplate

_SETTING = "FACTORY_TEMPLATE_HOSTS"
_FILE, _PROGRAM, _LINK, _SUBMODULE = "100644", "100755", "120000", "160000"
_LONGEST_LINK = 4096
_OLDEST = (2, 37)
_ELSEWHERE = b"version https://git-lfs.github.com/spec/"
_CHUNK = 1024 * 1024
_HEADER = 200


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of a commit's tree."""

    mode: str
    object_id: str
    size: int
    path: str


@dataclass(frozen=True)
class GitTemplates:
    """``ports.TemplateRepository`` by git over https.

    Attributes:
        hosts: that may be asked, as ``FACTORY_TEMPLATE_HOSTS`` lists them.
        limits: of what is fetched, and of the time it takes.
    """

    hosts: Sequence[str]
    limits: RenderLimits

    @contextmanager
    def fetch(self, location: GitLocation) -> Generator[FetchedTemplate]:
        settings = self._settings(location)
        with tempfile.TemporaryDirectory(prefix="factory-template-") as name:
            private, folder = Path(name) / "private", Path(name) / "template"
            private.mkdir()
            folder.mkdir()
            with disk_errors(Path(name)):
                commit_id = self._fetch(location, settings, private, folder)
            yield FetchedTemplate(folder, commit_id)

    def _fetch(
        self, location: GitLocation, settings: Mapping[str, str], private: Path, folder: Path
    ) -> str:
        """Write the files below ``folder``; the commit that they are of."""
        try:
            git = BoundedGit(private, self._room(), settings, _trusted())
            _refuse_old(git)
            commit_id = _fetch_commit(git, location)
            _write_files(git, self._entries(git, location, commit_id), folder)
        except OverLimitError as error:
            raise self._too_much(location, error) from error
        except GitRefusedError as error:
            raise meaning_of(error, location) from error
        check_tree(folder)
        return commit_id

    def _settings(self, location: GitLocation) -> dict[str, str]:
        """What git may ask, and at which addresses: the name is looked up once."""
        parts = urlsplit(location.url)
        host, port = port_of(parts)
        if parts.scheme == "http":
            self._refuse_plain(host, port)
            return {"protocol.http.allow": "always"}
        try:
            what = "templates may be fetched from"
            found = addresses_of(parts, self.hosts, what=what, setting=_SETTING)
        except DataRefusedError as error:
            raise TemplateRefusedError(str(error), hint=error.hint) from error
        addresses = ",".join(f"[{one}]" if ":" in one else one for one in found)
        return {
            "protocol.https.allow": "always",
            "http.curloptResolve": f"{host}:{port}:{addresses}",
        }

    def _refuse_plain(self, host: str, port: int) -> None:
        try:
            is_here = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_here = False
        if not is_here or f"http://{host}:{port}" not in self.hosts:
            raise TemplateRefusedError(
                "templates are fetched by https",
                hint=f"for a server on this machine an operator lists it with its scheme: {_SETTING}"
                "='[\"http://127.0.0.1:8080\"]'",
            )

    def _room(self) -> RenderLimits:
        """For the pack, and once more for what it holds."""
        return replace(self.limits, size_bytes=2 * self.limits.size_bytes + _CHUNK)

    def _too_much(self, location: GitLocation, error: OverLimitError) -> FactoryError:
        if error.limit == "wall":
            seconds = self.limits.wall.total_seconds()
            return HostBusyError(
                f"{location.url} takes longer than {seconds:g} s",
                hint="try again, or raise FACTORY_RENDER_SECONDS",
            )
        return self._too_large(location)

    def _too_large(self, location: GitLocation) -> TemplateRefusedError:
        return TemplateRefusedError(
            f"{location.origin} is larger than {self.limits.size_bytes} bytes, or has more than"
            f" {self.limits.files} files",
            hint="publish less, or raise FACTORY_RENDER_SIZE_MIB and FACTORY_RENDER_FILES",
        )

    def _entries(self, git: BoundedGit, location: GitLocation, commit_id: str) -> list[_Entry]:
        """The files of the folder; looked at before a byte of them is unpacked."""
        try:
            place = f"{commit_id}:{location.subdirectory}"
            tree_id = git.text("rev-parse", "--verify", "--quiet", place)
            listing = git.run("ls-tree", "-r", "-l", "-z", "--full-tree", tree_id)
        except GitRefusedError as error:
            raise TemplateNotFoundError(
                f"{location.url} has no folder {location.subdirectory!r} at {location.ref}",
                hint="look at what follows #subdirectory=",
            ) from error
        entries: list[_Entry] = []
        size = 0
        for entry in _parsed(listing.read_bytes()):
            entries.append(entry)
            size += entry.size
            if size > self.limits.size_bytes or len(entries) > self.limits.files:
                raise self._too_large(location)
        return entries


def _refuse_old(git: BoundedGit) -> None:
    """An older git would look the host's name up by itself."""
    version = re.search(r"(\d+)\.(\d+)", git.text("version"))
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        needed = ".".join(map(str, _OLDEST))
        raise TemplateRefusedError(
            f"this git is too old to fetch templates: {version[0] if version else 'no version'}",
            hint=f"install git {needed} or newer, or publish a folder",
        )


def _fetch_commit(git: BoundedGit, location: GitLocation) -> str:
    """Get one commit without its history; its id."""
    git.run(
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        "--",
        location.url,
        location.ref,
    )
    commit_id = git.text("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
    if location.is_commit and commit_id != location.ref:
        raise HostileTemplateError(
            f"{location.url} gave another commit than {location.ref[:12]}", hint="look at the host"
        )
    return commit_id


def _parsed(listing: bytes) -> Iterator[_Entry]:
    for line in listing.split(b"\0")[:-1]:
        facts, _, name = line.partition(b"\t")
        mode, _, object_id, size = facts.decode("ascii").split()
        try:
            path = safe_path(name.decode())
        except UnicodeDecodeError as error:
            raise HostileTemplateError(f"the file name {name!r} is not UTF-8") from error
        if mode == _SUBMODULE:
            raise HostileTemplateError(
                f"{path} is a submodule, and submodules are not fetched",
                hint="put the files themselves into the repository",
            )
        if mode == _LINK and int(size) > _LONGEST_LINK:
            raise HostileTemplateError(f"the link {path} is too long")
        yield _Entry(mode, object_id, int(size), path)


def _write_files(git: BoundedGit, entries: Sequence[_Entry], folder: Path) -> None:
    """Plain files first: until they are all there, no link can lead a path elsewhere."""
    wanted = "".join(f"{entry.object_id}\n" for entry in entries)
    links: list[tuple[Path, str]] = []
    with git.run("cat-file", "--batch", given=wanted.encode()).open("rb") as bodies:
        for entry in entries:
            _read_header(bodies, entry)
            if entry.mode == _LINK:
                links.append((folder / entry.path, _text(bodies.read(entry.size), entry)))
            else:
                _write_file(bodies, entry, folder)
            bodies.read(1)  # the line's end
    for place, target in links:
        with _places_taken(place.name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)


def _read_header(bodies: BinaryIO, entry: _Entry) -> None:
    words = bodies.readline(_HEADER).decode(errors="replace").split()
    if words != [entry.object_id, "blob", str(entry.size)]:
        raise HostileTemplateError(f"{entry.path} is not what its repository says it is")


def _write_file(bodies: BinaryIO, entry: _Entry, folder: Path) -> None:
    place, left = folder / entry.path, entry.size
    with _places_taken(entry.path):
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as out:
            first = True
            while left:
                chunk = bodies.read(min(left, _CHUNK))
                if not chunk:
                    raise HostileTemplateError(f"{entry.path} is cut off")
                if first and chunk.startswith(_ELSEWHERE):
                    raise HostileTemplateError(
                        f"the body of {entry.path} lies in LFS, which is not asked",
                        hint="put the file itself into the repository",
                    )
                first = False
                left -= len(chunk)
                out.write(chunk)
        place.chmod(0o755 if entry.mode == _PROGRAM else 0o644)


@contextmanager
def _places_taken(path: str) -> Generator[None]:
    """A tree that names a place twice is none that git makes."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise HostileTemplateError(f"{path} is there twice, or lies below a file") from error


def _text(target: bytes, entry: _Entry) -> str:
    try:
        return target.decode()
    except UnicodeDecodeError as error:
        raise HostileTemplateError(f"the link {entry.path} leads to no name in UTF-8") from error


def _trusted() -> dict[str, str]:
    """Certificates of the machine's own choice where it has made one."""
    return {"GIT_SSL_CAINFO": os.environ.get("SSL_CERT_FILE") or certifi.where()}
