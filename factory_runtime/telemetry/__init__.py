"""Trace ids in the W3C form, and which process this is."""

from __future__ import annotations

import os
import platform
import re
import secrets
import socket

_WORKER = re.compile(r"(?P<host>.+):(?P<pid>\d+)(?:-|$)")


def new_trace_id() -> str:
    """A trace id: 32 hex digits, never all zero (https://www.w3.org/TR/trace-context/)."""
    return secrets.token_hex(16)


def new_span_id() -> str:
    """A span id: 16 hex digits."""
    return secrets.token_hex(8)


def worker_name() -> str:
    """This process, like ``build-7:4211``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def worker_is_gone(holder: str) -> bool:
    """Whether a worker of this machine has ended; False where that cannot be known from here.

    Args:
        holder: a worker's name, or one with a hyphen and more behind it.
    """
    worker = _WORKER.match(holder)
    if worker is None or worker["host"] != socket.gethostname():
        return False
    import psutil

    try:
        return psutil.Process(int(worker["pid"])).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def environment_name(profile: str) -> str:
    """Where jobs run, like ``embedded python-3.11.7 linux-x86_64``."""
    system = f"{platform.system()}-{platform.machine()}".lower()
    return f"{profile} python-{platform.python_version()} {system}"
