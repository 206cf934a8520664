"""Runs git on what nobody trusts: within limits of time, memory and disk, and nothing of the user's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory_runtime.domain.errors import PermanentError
from factory_runtime.hosts.git import clean_environment
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.request import LimitName
from factory_runtime.jobs.render.trees import find_excess

_POLL = 0.02
_MISSING = 127
"""What a shell says of a program that is not there."""

_SETTINGS = {
    # Only what was asked for, only from there, and nothing that anybody's settings add to it.
    "protocol.allow": "never",
    "http.followRedirects": "false",
    "http.extraHeader": "",
    "http.proxy": "",
    "credential.helper": "",
    "credential.interactive": "never",
    "core.askPass": "",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # A large body is passed on, and not held in memory.
    "core.bigFileThreshold": "1m",
    "core.packedGitWindowSize": "16m",
    "pack.threads": "1",
}


class OverLimitError(Exception):
    """It took too long, or left too much; ``limit`` says which."""

    def __init__(self, limit: LimitName) -> None:
        super().__init__(limit)
        self.limit: LimitName = limit


class GitRefusedError(Exception):
    """Git ended badly.

    Attributes:
        command: of git's, like ``fetch``.
        complaint: what it said.
    """

    def __init__(self, command: str, complaint: str) -> None:
        super().__init__(command)
        self.command = command
        self.complaint = complaint


@dataclass
class BoundedGit:
    """Git in a repository of its own, below a folder that is thrown away.

    Attributes:
        folder: where everything goes that it writes; it exists.
        limits: of the time of all commands together, of the memory of each, and of the folder.
        settings: of git's, beside those that forbid things.
        environment: variables beside the few that it gets.
    """

    folder: Path
    limits: RenderLimits
    settings: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    _until: float = 0.0

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.limits.wall.total_seconds()
        self.run("init", "--quiet", "--bare", "--template=", ".")

    def run(self, *arguments: str, given: bytes = b"") -> Path:
        """The file that holds what the command printed; the next command prints to it, too.

        Raises:
            OverLimitError, GitRefusedError: it did not come to its end, or not to a good one.
            PermanentError: there is no git.
        """
        printed, complained = self.folder / "printed", self.folder / "complained"
        asked = self.folder / "asked"
        asked.write_bytes(given)
        with asked.open("rb") as input_, printed.open("wb") as out, complained.open("wb") as errors:
            child = subprocess.Popen(  # noqa: S603 - every argument is ours or was parsed
                self._command(arguments),
                stdin=input_,
                stdout=out,
                stderr=errors,
                env={**clean_environment(), **self._variables()},
                cwd="/",
                start_new_session=True,
            )
            try:
                self._watch(child)
            finally:
                _end(child)
        if child.returncode != 0:
            with complained.open("rb") as errors:
                complaint = errors.read(20_000).decode(errors="replace")
            if child.returncode == _MISSING:
                raise PermanentError("git is not installed, or not on the PATH", hint="install git")
            raise GitRefusedError(arguments[0], complaint)
        return printed

    def text(self, *arguments: str) -> str:
        """The first line that a command prints; raises as ``run``."""
        with self.run(*arguments).open("rb") as printed:
            return printed.readline(1000).decode(errors="replace").strip()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        # A pack of a few bytes may ask for any memory: the shell's limit holds for git's children.
        limited = 'ulimit -v "$0" 2>/dev/null; exec "$@"'
        memory = str(self.limits.memory_bytes // 1024)
        git = ["git", f"--git-dir={self.folder / 'git'}"]
        if arguments[0] == "init":
            git, arguments = ["git"], (*arguments[:-1], str(self.folder / "git"))
        return ["/bin/sh", "-c", limited, memory, *git, *arguments]

    def _variables(self) -> dict[str, str]:
        settings = {**_SETTINGS, **self.settings}
        numbered = {
            f"GIT_CONFIG_{part}_{number}": text
            for number, setting in enumerate(settings.items())
            for part, text in zip(("KEY", "VALUE"), setting, strict=True)
        }
        return {
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_ASKPASS": "",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **numbered,
            **self.environment,
        }

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                child.wait(_POLL)
                return
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > self._until:
                raise OverLimitError("wall")
            if excess := find_excess(self.folder, self.limits):
                raise OverLimitError(excess)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what git has started, whether it is still there itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
