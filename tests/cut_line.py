"""A line to a server on this machine, which counts the requests that pass, and may be cut."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_REQUEST = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (/[^ ]*) HTTP/1\.1\r\n")
_LONGEST = 4096
"""Bytes of a request's first line."""


class CutLine:
    """Passes on what it gets, both ways.

    Attributes:
        port: where it listens.
        requests: the first line of each that went by, like ``PUT /account/…?comp=block``.
        heard: is told of each when it goes by.
        cut_up, cut_down: the next connection that has passed so many bytes to the server, or from it,
            is cut, once; None cuts none.
        cuts: how many were.
    """

    def __init__(self, server_port: int) -> None:
        self.requests: list[str] = []
        self.heard: Callable[[str], None] = lambda _: None
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.cuts = 0
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def count(self, word: str) -> int:
        """Requests with this in their first line."""
        return sum(word in request for request in self.requests)

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    continue
                for target in (self._up, self._down):
                    threading.Thread(target=target, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        passed, tail = 0, b""
        with suppress(OSError):
            while data := client.recv(65536):
                tail = self._hear(tail + data)
                passed += len(data)
                if self.cut_up is not None and passed > self.cut_up:
                    self.cut_up = None
                    self.cuts += 1
                    break
                server.sendall(data)
        _hang_up(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := server.recv(65536):
                passed += len(data)
                if self.cut_down is not None and passed > self.cut_down:
                    self.cut_down = None
                    self.cuts += 1
                    break
                client.sendall(data)
        _hang_up(client, server)

    def _hear(self, data: bytes) -> bytes:
        """Note the requests in it; what may be the beginning of another."""
        end = 0
        for found in _REQUEST.finditer(data):
            end = found.end()
            request = f"{found[1].decode()} {found[2].decode()}"
            self.requests.append(request)
            self.heard(request)
        return data[end:][-_LONGEST:]


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def cut_line(server_port: int) -> Generator[CutLine]:
    line = CutLine(server_port)
    try:
        yield line
    finally:
        line.close()
