"""What a job's programs say where this process says things: passed on without its secrets."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO

from factory_runtime.domain.secrets import Secrets

STDOUT, STDERR = 1, 2

_LONGEST = 1 << 16
"""Bytes of a line that are waited for: a secret may stand anywhere in it."""


@contextmanager
def harmless(
    given: IO[bytes] | int | None, ours: int, secrets: Secrets
) -> Generator[IO[bytes] | int]:
    """What a child is to be started with as an output of its own.

    Args:
        given: by who starts it; None is this process's own output.
        ours: the number of that output. What the child writes reaches it line by line.
        secrets: that are left out.
    """
    if given is not None:
        yield given
        return
    reading, writing = os.pipe()
    args = (reading, os.dup(ours), secrets)
    threading.Thread(target=_pass_on, args=args, name="child-output", daemon=True).start()
    try:
        yield writing
    finally:
        os.close(writing)  # the child has its own


def _pass_on(reading: int, ours: int, secrets: Secrets) -> None:
    with open(reading, "rb") as said, open(ours, "wb", buffering=0) as out:
        while line := said.readline(_LONGEST):
            text = secrets.hide_in(line.decode("utf-8", "surrogateescape"))
            # Nobody hears it any more; the child is not to wait for that.
            with suppress(OSError):
                out.write(text.encode("utf-8", "surrogateescape"))
