"""An account of blob storage that refuses, where a test says so, what an Azurite would do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Refusal(NamedTuple):
    """As https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2 has them."""

    status: int
    code: str


class RefusingAccount:
    """Stands before an Azurite.

    Attributes:
        port: where it listens.
        refuses: what it says to a request, like ``PUT /account/…?comp=block``; None passes it on.
        refused: the requests that it did not pass on.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.refuses: Callable[[str], Refusal | None] = lambda _: None
        self.refused: list[str] = []

    def answer_to(self, request: str) -> Refusal | None:
        refusal = self.refuses(request)
        if refusal is not None:
            self.refused.append(request)
        return refusal


@contextmanager
def refusing_account(azurite_port: int) -> Generator[RefusingAccount]:
    """One that passes everything on until it is told otherwise."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            refusal = account.answer_to(f"{self.command} {self.path}")
            if refusal is not None:
                xml = f"<Error><Code>{refusal.code}</Code><Message>No.</Message></Error>"
                told = {"x-ms-error-code": refusal.code, "Content-Type": "application/xml"}
                self._send(refusal.status, told, xml.encode())
                return
            line = http.client.HTTPConnection("127.0.0.1", azurite_port)
            try:
                line.request(self.command, self.path, body, dict(self.headers.items()))
                found = line.getresponse()
                self._send(found.status, dict(found.getheaders()), found.read())
            finally:
                line.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "keep-alive", "transfer-encoding"):
                    self.send_header(name, value)
            if "content-length" not in {name.lower() for name in headers}:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_DELETE = do_GET = do_HEAD = do_PUT = _answer  # noqa: N815 - as the library calls them

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    account = RefusingAccount(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield account
    finally:
        server.shutdown()
        server.server_close()
