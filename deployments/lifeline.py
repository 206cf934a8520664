"""A child that must not outlive its parent holds a pipe from it; end of file means the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable


def on_parent_gone(act: Callable[[], object]) -> None:
    """Call ``act`` on a thread when standard input ends: the parent closed it or was killed."""

    def watch() -> None:
        stdin = sys.stdin.fileno()
        while os.read(stdin, 4096):
            pass
        act()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def terminate_self() -> None:
    """Ask this process to stop in the usual way."""
    os.kill(os.getpid(), signal.SIGTERM)
