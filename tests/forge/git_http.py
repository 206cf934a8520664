"""Git's smart HTTP protocol over the same repositories, by git's own ``http-backend``.

What the service answers where it refuses is as people report it: a lacking permission as in
https://github.com/gbrueckl/PowerBI.CICD/issues/2, and a push to a branch under a policy as in
https://deverrors.com/errors/azure-devops-push-denied.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.forge.speech import Token
from tests.forge.world import GIT_ENVIRONMENT, Repo, World

SERVICES = {"git-upload-pack": "GenericRead", "git-receive-pack": "GenericContribute"}
PERMITTED = "Details: identity '{user}', scope 'repository'."
_HOOK = Path(__file__).with_name("refuse_push.py")


@dataclass(frozen=True)
class GitAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def lacking(permission: str, token: Token) -> str:
    details = PERMITTED.format(user=token.user)
    return f"TF401027: You need the Git '{permission}' permission to perform this action. {details}"


def refusal(service: str, path: str, status: int, message: str) -> GitAnswer:
    """As text, which git shows; where refs were asked for, behind the service's first line."""
    said = message
    if path == "info/refs":
        first = f"# service={service}\n"
        said = f"{len(first) + 4:04x}{first}0000{len(message) + 4:04x}{message}"
    return GitAnswer(status, {"Content-Type": "text/plain"}, f"{said}\n{message}\n".encode())


def _settings(world: World, repo: Repo, token: Token) -> dict[str, str]:
    """Of this one request, to git and its hooks."""
    pairs = [("safe.directory", "*"), ("core.hooksPath", str(_hooks(world)))]
    # Nothing goes on after the answer, and a test needs nothing on the disk.
    pairs += [("receive.autogc", "false"), ("core.fsync", "none")]
    pairs += [("receive.procReceiveRefs", name) for name in sorted(world.protected(repo))]
    if not token.may("ForcePush"):
        pairs += [("receive.denyNonFastForwards", "true"), ("receive.denyDeletes", "true")]
    told = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for at, (key, value) in enumerate(pairs):
        told |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
    return told


def _hooks(world: World) -> Path:
    """With the one that refuses pushes to protected branches."""
    folder = world.folder / "hooks"
    hook = folder / "proc-receive"
    if not hook.exists():
        folder.mkdir()
        hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SsE "{_HOOK}"\n')
        hook.chmod(0o755)
    return folder


def serve(
    world: World,
    repo: Repo,
    token: Token,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
) -> GitAnswer:
    """What ``git http-backend`` says, as CGI."""
    done = subprocess.run(
        ["git", "http-backend"],
        input=body,
        capture_output=True,
        check=False,
        env={
            **GIT_ENVIRONMENT,
            **_settings(world, repo, token),
            "GIT_PROJECT_ROOT": str(repo.folder.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "PATH_INFO": f"/{repo.folder.name}/{path}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": token.user,
        },
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    told = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
    return GitAnswer(int(told.pop("Status", "200").split()[0]), told, content)
