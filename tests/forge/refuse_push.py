"""The hook ``proc-receive``: refuses pushes to branches under a policy, with the service's words.

Its protocol is in githooks(5). A branch that is not there yet may be made, as no policy has been
broken by then. It stands alone: git starts it in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

REASON = (
    "TF402455: Pushes to this branch are not permitted; you must use a pull request to update "
    "this branch."
)


def _read() -> Iterator[bytes]:
    """Packets up to the next flush."""
    while (size := int(sys.stdin.buffer.read(4), 16)) > 0:
        yield sys.stdin.buffer.read(size - 4)


def _write(*lines: str) -> None:
    for line in lines:
        sys.stdout.buffer.write(f"{len(line.encode()) + 4:04x}{line}".encode())
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()


def _verdict(command: bytes) -> str:
    old, new, name = command.decode().strip().split(" ", 2)
    if old.strip("0"):
        return f"ng {name} {REASON}"
    subprocess.run(["git", "update-ref", name, new, old], check=True)
    return f"ok {name}"


if __name__ == "__main__":
    for _ in _read():
        pass  # what git offers: none of it is wanted
    _write("version=1")
    _write(*map(_verdict, list(_read())))
