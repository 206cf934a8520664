"""A process with Copier loaded, which forks a child for each render: loading it is most of one.

It learns nothing of what it forks for: started with an empty environment, it neither reads requests
nor renders, so that no render finds anything of another. It ends when the process does that asks.

A request is one byte on the socket that is its standard input, with three open files: the line to
who asks, the request, and the child's standard error. On the line comes ``+`` before anything of the
render begins, then the child's exit code as text, negative for a signal; in place of either ``-``
where no process is to be had. When who asks closes its end, or is gone, the child is killed.
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

BEGUN, NONE_TO_BE_HAD = b"+", b"-"
_FILES = 3
_SOON, _RARELY = 0.001, 0.05

Answer = Callable[[int], None]


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
    while files := socket.recv_fds(asked, 1, _FILES)[1]:
        if len(files) == _FILES and _fork(files[0]) == 0:
            asked.close()
            _keep(answer, *files)
        for file in files:
            os.close(file)


def _fork(line: int) -> int | None:
    try:
        return os.fork()
    except OSError:
        with suppress(BrokenPipeError):
            os.write(line, NONE_TO_BE_HAD)
        return None


def _keep(answer: Answer, line: int, request: int, errors: int) -> NoReturn:
    """Fork the child and wait for it: whoever waits can kill it, and never another of its id."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        keeper = os.getpid()
        os.write(line, BEGUN)  # whatever ends this from here on, the request may have been read
        alive, held = os.pipe()  # at its end when the child is
        if (child := _fork(line)) == 0:
            os.close(line)
            os.close(alive)
            _render(answer, request, errors, keeper)
        for file in (held, request, errors):
            os.close(file)
        if child is not None:
            code = _end_of(child, line, alive)
            os.write(line, str(code).encode())
    except BrokenPipeError:
        pass  # who asked is gone
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _end_of(child: int, line: int, alive: int) -> int:
    """Its exit code, once it has ended or been killed.

    A child can close what tells of its end, and live: from there on it is looked at now and then.
    """
    wait: float | None = None
    while line not in select.select([line] if wait else [line, alive], [], [], wait)[0]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        wait = min(2 * wait, _RARELY) if wait else _SOON
    with suppress(ProcessLookupError):  # it may have no session yet
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _render(answer: Answer, request: int, errors: int, keeper: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
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
