"""The fork server that children of the tests come from: a process of the tests has one for all."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

_PRELOAD = ["tests.recovery.core_worker", "tests.recovery.git_writers"]
"""What takes its children up to a second to import."""


def fork_server() -> ForkServerContext:
    """What starts processes from it. It imports what it holds with the first of them, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOAD])
    return context
