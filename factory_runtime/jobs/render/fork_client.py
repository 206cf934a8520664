"""The fork server of this process: begun when a render first wants it, and again where it ended."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO

_NOWHERE = "/nowhere"


class ForkServer:
    """One such process, from its start to its end."""

    def __init__(self) -> None:
        # Open until its end. A pipe would have to be emptied.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._last_words = ""
        self._lock = threading.Lock()
        self._asked, theirs = socket.socketpair()
        self._asked.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "factory_runtime.jobs.render.fork_server"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                cwd="/",
                env={
                    # A child gets folders of its own.
                    "HOME": _NOWHERE,
                    "PATH": _NOWHERE,
                    "TMPDIR": _NOWHERE,
                    "LC_ALL": "C.UTF-8",
                    "PYTHONUTF8": "1",
                    "PYTHONHASHSEED": "0",
                    "PYTHONWARNINGS": "ignore",
                },
                start_new_session=True,
            )

    def fork(self, line: socket.socket, request: IO[bytes], errors: IO[bytes]) -> None:
        """Have a child forked with these; nothing where the server has ended.

        Raises:
            OSError: too much waits to be forked.
        """
        files = [line.fileno(), request.fileno(), errors.fileno()]
        with self._lock, suppress(BrokenPipeError, ConnectionResetError):
            if not self._said.closed:
                socket.send_fds(self._asked, [b"?"], files)

    def end(self) -> str:
        """End it, though its children live on; the last line of its standard error."""
        with self._lock:
            if not self._said.closed:
                self._asked.close()
                self._process.kill()
                self._process.wait()
                with self._said as said:
                    said.seek(0)
                    lines = said.read().decode(errors="replace").split("\n")
                ends = (line for line in reversed(lines) if line.strip())
                self._last_words = next(ends, "it said nothing")
            return self._last_words

    def let_go(self) -> None:
        """In a process that was forked from the one that it serves."""
        self._asked.close()


class ForkClient:
    """Asks the one fork server that it begins; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: ForkServer | None = None
        atexit.register(self._end)
        # What this process was forked from goes on with its own.
        os.register_at_fork(after_in_child=self._begin_anew)

    def ask(self, request: IO[bytes], errors: IO[bytes]) -> tuple[ForkServer, socket.socket]:
        """Who was asked, and the line to the child: at its end where nobody was.

        Raises:
            OSError: no process or file is to be had.
        """
        with self._lock:
            self._server = server = self._server or ForkServer()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                server.fork(theirs, request, errors)
            except BaseException:
                ours.close()
                raise
        return server, ours

    def give_up(self, server: ForkServer) -> str:
        """End it, so that who asks next begins another; the last that it said."""
        with self._lock:
            if self._server is server:
                self._server = None
        return server.end()

    def _end(self) -> None:
        if self._server is not None:
            self._server.end()

    def _begin_anew(self) -> None:
        if self._server is not None:
            self._server.let_go()
        self._lock = threading.Lock()
        self._server = None
