"""A real web server on the loopback that serves data, or misbehaves as a test says."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[BaseHTTPRequestHandler], None]

ROWS = b"day,orders\n1,10\n2,12\n3,14\n4,16\n"


@dataclass
class DataServer:
    """Answers each path as it was told to.

    Attributes:
        host: with its port, as ``FACTORY_DATA_HOSTS`` lists it.
        asked: paths and their headers, in order.
        ending: set when the tests are done with it, so that nothing it holds goes on.
    """

    host: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list[Any])
    ending: threading.Event = field(default_factory=threading.Event)
    _answers: dict[str, Answer] = field(default_factory=dict[str, Answer])

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def serves(self, path: str, body: bytes = ROWS, status: int = 200, **headers: str) -> None:
        """A whole answer; ``content_type`` and the like are headers."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            given = {"Content-Type": "text/csv", "Content-Length": str(len(body))}
            for name, value in {**given, **_headers(headers)}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

        self._answers[path] = answer

    def does(self, path: str, answer: Answer) -> None:
        """Whatever a test wants of it."""
        self._answers[path] = answer

    def hangs(self, path: str) -> None:
        """Takes the request and says nothing."""
        self._answers[path] = lambda _request: self._hold()

    def trickles(self, path: str, start: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        """Gives a byte now and then, for ever: of the body, or of what it has begun with."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(start)
            while not self.ending.wait(0.05):
                request.wfile.write(b"1")

        self._answers[path] = answer

    def breaks_off(self, path: str, body: bytes = ROWS) -> None:
        """Promises the whole body, and closes half way."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Type", "text/csv")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: len(body) // 2])

        self._answers[path] = answer

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, dict(request.headers.items())))
        path = request.path.partition("?")[0]
        if path in self._answers:
            self._answers[path](request)
        else:
            request.send_error(404)

    def _hold(self) -> None:
        self.ending.wait(60)


def _headers(named: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in named.items()}


def a_certificate(folder: Path, name: str) -> Path:
    """A key and a certificate for this name, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(whose)
        .issuer_name(whose)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(pem, pkcs8, plain) + certificate.public_bytes(pem))
    return file


@contextmanager
def data_server(certificate: Path | None = None) -> Generator[DataServer]:
    """One on a fresh port; with a certificate, over TLS."""
    told = DataServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                told.answer(self)
            except OSError:
                time.sleep(0)  # who asked has gone

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - as it is called

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    told.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield told
    finally:
        told.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
