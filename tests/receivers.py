"""Receivers of notices on fresh loopback ports: they take, refuse, hang, or give a byte at a time."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.notice import Notice, NoticeKind
from tests.builders import NOON, TENANT


def a_notice(**values: Any) -> Notice:
    """A dead letter of a run."""
    given: dict[str, Any] = {
        "tenant_id": TENANT,
        "kind": NoticeKind.DEAD_LETTER,
        "key": "dead-letter:abc",
        "title": "A new kind of failure",
        "body": "the host is gone\nfactory dead-letters list",
        "at": NOON,
        "run_id": None,
    }
    return Notice(**given | values)


@dataclass
class Board:
    """A notifier in memory: keeps what it is sent, or refuses what an address says.

    Attributes:
        sent: address and notice, in order.
        refusing: addresses that take nothing, with what they say.
    """

    sent: list[tuple[str, Notice]] = field(default_factory=list[tuple[str, Notice]])
    refusing: dict[str, Exception] = field(default_factory=dict[str, Exception])

    def send(self, to: str, notice: Notice) -> None:
        if to in self.refusing:
            raise self.refusing[to]
        self.sent.append((to, notice))

    def refuse(self, to: str, why: Exception | None = None) -> None:
        self.refusing[to] = why or HostBusyError("it answered 503")


@dataclass
class Request:
    """What a web receiver was sent."""

    path: str
    headers: Message
    body: dict[str, Any]


class WebReceiver:
    """An HTTP server. ``answers`` are statuses to be given one after the other; then 200.

    A path that begins with ``/hang`` is never answered, ``/trickle`` a byte at a time for ever.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = int(server.server_address[1])
        self.requests: list[Request] = []
        self.answers: list[int] = []
        self.arrived = threading.Semaphore(0)
        self.over = threading.Event()

    def address(self, path: str = "/") -> str:
        return f"json://127.0.0.1:{self.port}{path}"

    @property
    def keys(self) -> list[str | None]:
        """The keys of the notices it was sent."""
        return [request.headers["X-Factory-Notice"] for request in self.requests]


@contextmanager
def web_receiver() -> Generator[WebReceiver]:
    """A web receiver, gone afterwards."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(Request(self.path, self.headers, json.loads(body)))
            receiver.arrived.release()
            if self.path.startswith("/hang"):
                receiver.over.wait(60)
                return
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            if self.path.startswith("/trickle"):
                self._trickle()
                return
            if self.path.startswith("/moved"):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _trickle(self) -> None:
            self.flush_headers()
            try:
                while not receiver.over.is_set():
                    self.wfile.write(b"X-Slow: 1\r\n"[:1])
                    time.sleep(0.1)
            except OSError:
                pass  # the other side has gone

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = WebReceiver(server)
    with _serving(server):
        yield receiver
        receiver.over.set()


class MailReceiver:
    """An SMTP server that takes every letter."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.letters: list[Message] = []

    def address(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=factory@example.com&to=ops@example.com"


@contextmanager
def mail_receiver() -> Generator[MailReceiver]:
    """A mail receiver, gone afterwards."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 here")
            for line in self.rfile:
                match line.split(maxsplit=1)[0].upper():
                    case b"DATA":
                        self._say("354 go on")
                        lines = iter(self.rfile.readline, b".\r\n")
                        receiver.letters.append(message_from_bytes(b"".join(lines)))
                        self._say("250 taken")
                    case b"QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 yes")

        def _say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = MailReceiver(int(server.server_address[1]))
    with _serving(server):
        yield receiver


@contextmanager
def _serving(server: socketserver.BaseServer) -> Generator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
