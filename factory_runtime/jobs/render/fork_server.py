"""A process with Copier loaded, which forks a child for each render: loading it is most of one.

It learns nothing of what it forks for: started with an empty environment, it neither reads requests
nor renders, so that no render finds anything of another. It ends when the process does that asks.

A request is one byte on the socket that is its standard input, with three open files: the line to
who asks, the request, and the child's standard error. On the line comes ``+``, then the child's
exit code as text, negative for a signal. When who asks closes its end, or is gone, the child is
killed.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_BEGUN = b"+"


def main() -> None:
    """Load what a render needs, and fork for each until nobody is left who could ask."""
    # Nothing of what is loaded is garbage: to look for some takes a fifth of the time.
    gc.disable()
    from factory_runtime.jobs.render.unasked import import_copier

    import_copier()
    from factory_runtime.jobs.render.child import answer

    # Looking through it later would make each child a copy of its own.
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    asked = socket.socket(fileno=0)
    while files := socket.recv_fds(asked, 1, 3)[1]:
        with suppress(OSError):  # no process is to be had: the line ends with nothing on it
            if os.fork() == 0:
                asked.close()
                _keep(answer, *files)
        for file in files:
            os.close(file)


def _keep(answer: Callable[[int], None], line: int, request: int, errors: int) -> NoReturn:
    """Fork the child and wait for it: whoever waits can kill it, and never another of its id."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        keeper = os.getpid()
        alive, held = os.pipe()  # at its end when the child is
        if (child := os.fork()) == 0:
            os.close(line)
            os.close(alive)
            _render(answer, request, errors, keeper)
        os.close(held)
        with suppress(OSError):  # as the child does itself, whichever comes first
            os.setpgid(child, child)
        os.write(line, _BEGUN)
        if line in select.select([line, alive], [], [])[0]:
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(BrokenPipeError):  # nobody is left to hear it
            os.write(line, str(code).encode())
    finally:
        os._exit(0)


def _render(answer: Callable[[int], None], request: int, errors: int, keeper: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(request, 0)
        os.dup2(errors, 2)
        os.close(request)
        os.close(errors)
        answer(keeper)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
