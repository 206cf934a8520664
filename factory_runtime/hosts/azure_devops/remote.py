"""Fetches from a repository of Azure DevOps and pushes to it, by git over https.

The token goes to git by its environment: it stands in no argument, no address and no file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

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
from factory_runtime.hosts.git import BranchMovedError, clean_environment, git_error, git_process
from factory_runtime.hosts.repository_lock import LOCK_FOLDER

_HEADS = "refs/remotes/origin"
_REFSPECS = (f"+refs/heads/*:{_HEADS}/*", "+refs/tags/*:refs/tags/*")

_PROTECTED = re.compile(r"TF402455|GitRefUpdateRejectedByPolicy")
_MOVED = re.compile(
    r"stale info|fetch first|non-fast-forward|TF401028|already exists|cannot lock ref"
    r"|failed to update ref|incorrect old value"
)
# What is said on further lines, like where a secret stands, is for people who push by hand.
_REFUSED = re.compile(
    r"remote rejected\][^\n(]*\((?P<rejected>[^\n]*)"
    r"|remote unpack failed: error (?P<unpacked>(?:VS|TF)\d[^\n]*)"
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

    def fetch(self) -> None:
        """Have the copy know of every branch and tag, and of no other."""
        self._run("fetch", "--prune", "--no-write-fetch-head", *_QUIETLY, self._url, *_REFSPECS)

    def fetch_commit(self, sha: str) -> None:
        """Get a commit that may be on no branch any more."""
        self._run("fetch", "--no-write-fetch-head", *_QUIETLY, self._url, sha)

    def push(self, sha: str, ref: str, expected: str | None) -> None:
        """Move a ref, of its whole name, from where it is expected to be; None is nowhere.

        Raises:
            BranchMovedError: it is elsewhere.
            ProtectedBranchError: it takes no pushes.
        """
        lease = f"--force-with-lease={ref}:{expected or ''}"
        self._run("push", "--quiet", "--no-verify", lease, self._url, f"{sha}:{ref}")

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

        Else libcurl reads those of the whole system as well, at each start: a third of a push.
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


def meaning_of(host: str, complaint: str) -> FactoryError | None:
    """What git's complaint about the host means; None where it is about something else."""
    refused = _REFUSED.search(complaint)
    named = refused and (refused["rejected"] or refused["unpacked"])
    why = plain(named.removesuffix(")") if named else _said(complaint))
    if _PROTECTED.search(complaint):
        return ProtectedBranchError(f"{host} refuses a push: {why}")
    if _FORBIDDEN.search(complaint):
        return forbidden(host, Complaint(message=why, typeKey="GitNeedsPermissionException"))
    if _UNKNOWN.search(complaint):
        return not_accepted(host, 401)
    if _MISSING.search(complaint):
        return MissingError(f"{host} has no such repository: {why}")
    if _MOVED.search(complaint):
        return BranchMovedError(f"somebody else has pushed to {host}", hint="try again")
    if refused:
        return TurnedDownError(
            f"{host} refuses the push: {why}", hint="look at the policies of the repository"
        )
    if _BUSY.search(complaint):
        return HostBusyError(f"{host} does not answer git: {why}")
    return None


def _said(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if not line.startswith(("To ", "hint:"))]
    return " ".join(lines)
