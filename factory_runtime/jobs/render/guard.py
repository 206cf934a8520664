"""The child's last line of defence: an audit hook that lets it read and write in its box alone.

Copier and Jinja's sandbox refuse most of what a hostile template tries. This refuses whatever they
let through: processes, sockets, and files outside the staging folder. It cannot be taken off again.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NEVER = (
    "ctypes.",
    "ftplib.",
    "http.",
    "mmap.",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.posix_spawn",
    "os.putenv",
    "os.spawn",
    "os.startfile",
    "os.system",
    "os.unsetenv",
    "pty.",
    "resource.",
    "signal.",
    "smtplib.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "urllib.",
    "webbrowser.",
)
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_READS = frozenset({"glob.glob", "os.chdir", "os.listdir", "os.scandir"})
# How many of the event's first arguments are paths that it changes.
_CHANGES: Mapping[str, int] = {
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.setxattr": 1,
    "os.truncate": 1,
    "os.utime": 1,
}


class EscapeError(Exception):
    """Something in the child reached out of the box. Not an OSError: nobody may swallow it."""


class Guard:
    """Refuses what leaves the box, and remembers the first refusal.

    Args:
        reads: folders whose files may be read, beside Python's own.
        writes: folders and files that may be written.
    """

    def __init__(self, reads: list[Path], writes: list[Path]) -> None:
        paths = sysconfig.get_paths()
        python = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
        ours = Path(__file__).parents[2]
        status = Path("/proc/self/status")
        self._reads = _real([*reads, *writes, *map(Path, python), ours]) | {str(status)}
        self._writes = _real(writes)
        self.escape: EscapeError | None = None

    def install(self) -> None:
        """From here on, for ever. Nothing may be compiled to disk beside imported modules."""
        sys.dont_write_bytecode = True
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            self._hear_open(*args)
        elif event in _READS:
            self._check(event, args[0], self._reads)
        elif event in _CHANGES:
            for path in args[: _CHANGES[event]]:
                self._check(event, path, self._writes, follow=False)
        elif event == "os.symlink":
            # Where it points is looked at in what came out.
            self._check(event, args[1], self._writes, follow=False)
        elif event.startswith(_NEVER):
            self._refuse(f"{event} is not allowed in a render")

    def _hear_open(self, path: Any, _mode: str | None, flags: int) -> None:
        changes = flags & _WRITE_FLAGS
        self._check("open", path, self._writes if changes else self._reads)

    def _check(self, event: str, path: Any, roots: frozenset[str], *, follow: bool = True) -> None:
        if isinstance(path, int):
            return  # an open file: its opening was looked at
        text = os.fsdecode(path if path is not None else ".")
        if follow:
            real = os.path.realpath(text)
        else:
            folder, name = os.path.split(text)
            real = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - strings are faster
        if real in roots or str(text) == "/proc/self/status":
            return
        if not any(real.startswith(root + os.sep) for root in roots):
            self._refuse(f"{event} of {text} is outside the box")

    def _refuse(self, message: str) -> None:
        error = EscapeError(message)
        self.escape = self.escape or error
        raise error


def _real(paths: list[Path]) -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in paths)
