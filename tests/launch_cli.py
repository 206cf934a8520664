"""Types a command at a nursery of ``tests.warm_cli``: ``launch_cli.py FOLDER [WORD …]``.

A program by itself, which imports next to nothing: it is run hundreds of times.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


def main(folder: str, *words: str) -> int:
    """Have one command run; its exit code, negative for the signal that ended it."""
    order = {
        "words": words,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib would take longer than all else
        "leads_session": os.getsid(0) == os.getpid(),
    }
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
        line.connect(f"{folder}/socket")
        # The command may say something, and somebody answer with a signal, before we know its pid.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        said = json.dumps(order).encode() + b"\n"
        line.sendall(said[socket.send_fds(line, [said], [0, 1, 2]) :])
        for answer in line.makefile():
            word, number = answer.split()
            if word == "code":
                return int(number)
            _pass_signals_on(int(number))
    with open(f"{folder}/log") as log:  # noqa: PTH123
        sys.exit(f"the nursery is gone: {log.read()}")


def _pass_signals_on(pid: int) -> None:
    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(pid, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
