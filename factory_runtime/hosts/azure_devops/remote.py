"""Fetches from a repository of Azure DevOps and pushes to it, by git's protocol over https.

Git itself fetches, which is rare: the token goes to it by its environment, and stands in no argument,
no address and no file. A push is said by us, over the connections that REST keeps open: a git of its
own for each would take twice as long, most of it to find its way to the host.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, cast

import certifi

from factory_runtime.domain.errors import FactoryError, HostBusyError, HostRejectedError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.errors import (
    Complaint,
    MissingError,
    TurnedDownError,
    forbidden,
    not_accepted,
    plain,
)
from factory_runtime.hosts.azure_devops.smart_http import (
    SERVICE,
    Offer,
    UnreadableError,
    read_offer,
    read_report,
    write_command,
)
from factory_runtime.hosts.git import (
    TIME_LIMIT,
    BranchMovedError,
    clean_environment,
    git_error,
    git_process,
)
from factory_runtime.hosts.repository_lock import LOCK_FOLDER

_HEADS = "refs/remotes/origin"
_REFSPECS = (f"+refs/heads/*:{_HEADS}/*", "+refs/tags/*:refs/tags/*")

_PROTECTED = re.compile(r"TF402455|GitRefUpdateRejectedByPolicy")
_MOVED = re.compile(
    r"TF401028|non-fast-forward|already exists|cannot lock ref|failed to update ref"
    r"|incorrect old value"
)
_UNKNOWN = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|error: (?:401|30[1-8])"
    r"|unable to update url base|not valid: is this a git repository|TF400813",
)
_FORBIDDEN = re.compile(r"error: 403|TF401027")
_MISSING = re.compile(r"error: 404|repository '[^']*' not found|TF401019|TF200016")
_BUSY = re.compile(
    r"could not resolve|failed to connect|timed out|error: (?:408|429|5\d\d)|hung up|early EOF"
    r"|connection (?:reset|refused|was)|recv failure|empty reply|too slow|RPC failed|curl \d+"
    r"|unexpected disconnect",
    re.IGNORECASE,
)
_CHUNK = 16 * 1024
"""Bytes that are sent at once: one record of TLS, which is sent in time or not at all."""

_SMALL = 1024 * 1024
"""Bytes of a pack that is not put on the disk."""

_PROXIES = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")


class ProtectedBranchError(HostRejectedError):
    """A policy of the branch wants a pull request instead of a push."""


class Remote:
    """One repository of the host, seen from a bare copy.

    Every method raises HostBusyError where the host does not answer or asks to wait,
    HostRejectedError where it refuses, naming the permission that is missing, and MissingError
    where the repository is gone.

    Args:
        client: of the organization: its tokens, and when it wants to hear from us.
        url: of the repository.
        place: the bare copy.
        lock: a descriptor that git holds while it lives.
    """

    def __init__(self, client: AzureDevOpsClient, url: str, place: Path, lock: int) -> None:
        self._client = client
        self._url = url
        self._place = place
        self._lock = lock
        self._offer: Offer | None = None

    def fetch(self) -> None:
        """Have the copy know of every branch and tag, and of no other."""
        self._run("fetch", "--prune", "--no-write-fetch-head", *_QUIETLY, self._url, *_REFSPECS)

    def fetch_commit(self, sha: str) -> None:
        """Get a commit that may be on no branch any more."""
        self._run("fetch", "--no-write-fetch-head", *_QUIETLY, self._url, sha)

    def refs(self) -> Mapping[str, str]:
        """Where its branches and tags are at, by their whole names, as who may push is told."""
        return self._ask_offer().refs

    def push(self, sha: str, ref: str, expected: str | None, base: str | None) -> None:
        """Move a ref.

        Args:
            sha: where to.
            ref: its whole name.
            expected: where it is; None is nowhere.
            base: a commit that the host has; what leads to it is not sent.

        Raises:
            BranchMovedError: it is elsewhere.
            ProtectedBranchError: it takes no pushes.
        """
        offer = self._offer or self._ask_offer()
        command = write_command(offer, sha, ref, expected)
        with self._packed(sha, base, offer) as pack:
            headers = {
                "Content-Type": f"application/x-{SERVICE}-request",
                "Content-Length": str(len(command) + pack.seek(0, os.SEEK_END)),
                "Accept": f"application/x-{SERVICE}-result",
            }
            body = _sent(self._client.access.name, command, pack)
            answer = self._client.speak_git("POST", f"{self._url}/{SERVICE}", headers, body)
        try:
            why = read_report(answer.content, offer, ref)
        except UnreadableError as exc:
            raise self._broken_off(exc) from None
        if why is not None:
            self._refuse(why, ref, expected)

    def _ask_offer(self) -> Offer:
        answer = self._client.speak_git("GET", f"{self._url}/info/refs?service={SERVICE}")
        try:
            self._offer = read_offer(answer.content)
        except UnreadableError as exc:
            raise self._broken_off(exc) from None
        return self._offer

    @contextmanager
    def _packed(self, sha: str, base: str | None, offer: Offer) -> Generator[IO[bytes]]:
        """What the host lacks to have a commit, as a file."""
        arguments = ["pack-objects", "--quiet", "--revs", "--stdout"]
        if offer.takes_offsets:
            arguments.append("--delta-base-offset")
        with tempfile.SpooledTemporaryFile(_SMALL, dir=str(self._place / LOCK_FOLDER)) as pack:
            with git_process(self._place, arguments) as process:
                into = cast(IO[bytes], process.stdin)
                into.write(f"{sha}\n{'' if base is None else f'^{base}'}\n".encode())
                into.close()
                shutil.copyfileobj(cast(IO[bytes], process.stdout), pack)
            yield cast(IO[bytes], pack)

    def _refuse(self, why: str, ref: str, expected: str | None) -> NoReturn:
        """Raise what it means that a ref was not moved."""
        host = self._client.access.name
        error = refused_push(host, self._client.access.tokens().hidden(why))
        # Not every word for it is known, so it is looked at.
        if isinstance(error, TurnedDownError) and self.refs().get(ref) != expected:
            raise moved(host) from error
        raise error

    def _broken_off(self, exc: UnreadableError) -> FactoryError:
        host, words = self._client.access.name, self._client.access.tokens().hidden(str(exc))
        busy = HostBusyError(f"{host} does not answer git: {plain(words)}")
        return meaning_of(host, words) or busy

    def _run(self, *arguments: str) -> None:
        host = self._client.access.name
        self._client.turns.take(host)
        token = self._client.access.tokens()

        def meaning(place: Path, command: str, status: int, complaint: str) -> FactoryError:
            said = token.hidden(complaint)
            return meaning_of(host, said) or git_error(place, command, status, said)

        environment = _environment(self._url, token.header, self._no_authorities())
        with git_process(
            self._place,
            arguments,
            keep_open=self._lock,
            environment=environment,
            meaning=meaning,
        ):
            pass  # it asks for nothing, and says nothing where all is well

    def _no_authorities(self) -> Path:
        """An empty folder.

        Else libcurl reads those of the whole system as well, at each start: a third of a fetch.
        """
        folder = self._place / LOCK_FOLDER / "authorities"
        folder.mkdir(exist_ok=True)
        return folder


_QUIETLY = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance")


def _environment(url: str, authorization: str, no_authorities: Path) -> dict[str, str]:
    scheme = url.partition(":")[0]
    settings = {
        f"http.{url}.extraHeader": f"Authorization: {authorization}",
        "http.followRedirects": "false",
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": "60",
        "credential.helper": "",
        "protocol.allow": "never",
        f"protocol.{scheme}.allow": "always",
    }
    ours = {
        "GIT_ASKPASS": "",
        **_authorities(no_authorities),
        **(_proxies() if scheme == "https" else {}),
    }
    return {**clean_environment(settings), **ours}


def _authorities(none: Path) -> Mapping[str, str]:
    """Certificates of the machine's own choice where it has made one, as for REST."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    chosen = folder if folder and not file else str(none)
    return {"GIT_SSL_CAINFO": file or certifi.where(), "GIT_SSL_CAPATH": chosen}


def _proxies() -> Mapping[str, str]:
    return {name: os.environ[name] for name in _PROXIES if name in os.environ}


def _sent(host: str, command: bytes, pack: IO[bytes]) -> Iterator[bytes]:
    """The body of a push; begins no piece after the time that a git would have."""
    until = time.monotonic() + TIME_LIMIT.total_seconds()
    yield command
    pack.seek(0)
    while chunk := pack.read(_CHUNK):
        if time.monotonic() > until:
            raise HostBusyError(f"{host} takes a push too slowly")
        yield chunk


def refused_push(host: str, why: str) -> FactoryError:
    """The error for a ref that was not moved."""
    # What is said on further lines, like where a secret stands, is for people who push by hand.
    words = plain(why.partition("\n")[0])
    if _PROTECTED.search(why):
        return ProtectedBranchError(f"{host} refuses a push: {words}")
    if _MOVED.search(why):
        return moved(host)
    return TurnedDownError(
        f"{host} refuses the push: {words}", hint="look at the policies of the repository"
    )


def moved(host: str) -> BranchMovedError:
    """The error for a branch that is elsewhere than it was taken to be."""
    return BranchMovedError(f"somebody else has pushed to {host}", hint="try again")


def meaning_of(host: str, complaint: str) -> FactoryError | None:
    """What the complaint of a git, here or there, means; None where it is not about the host."""
    why = plain(_said(complaint))
    if _FORBIDDEN.search(complaint):
        return forbidden(host, Complaint(message=why, typeKey="GitNeedsPermissionException"))
    if _UNKNOWN.search(complaint):
        return not_accepted(host, 401)
    if _MISSING.search(complaint):
        return MissingError(f"{host} has no such repository: {why}")
    if _BUSY.search(complaint):
        return HostBusyError(f"{host} does not answer git: {why}")
    return None


def _said(complaint: str) -> str:
    return " ".join(line for line in complaint.splitlines() if not line.startswith("hint:"))
