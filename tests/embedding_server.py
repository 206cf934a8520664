"""An endpoint of embeddings on the loopback, over real sockets, that misbehaves as a test says.

Requests, answers and refusals are shaped as in OpenAI's API reference ("Create embeddings": ``input``,
``model``, ``dimensions``; ``object``, ``data`` with ``index`` and ``embedding``, ``usage``; inputs neither
empty nor more than 2,048) and in Azure OpenAI's REST reference (both of its addresses, and the header
``api-key``).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

KEY = "sk-a-key-that-nobody-may-see"
NATURAL = 64

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class EmbeddingServer:
    """Answers as an endpoint does, unless it was told what to do with the next request.

    Attributes:
        characters: that it reads of one text, and of one request; longer ones are refused.
        shortens: whether its model can give shorter vectors than it has.
        twist: what becomes of the ``data`` of an answer.
        asked: in order.
        connections: that were opened.
    """

    url: str = ""
    characters: int = 1_000_000
    shortens: bool = True
    twist: Callable[[list[dict[str, Any]]], object] = list
    asked: list[Asked] = field(default_factory=list[Asked])
    connections: int = 0
    _next: deque[Answer] = field(default_factory=deque[Answer])

    def next(self, *answers: Answer) -> None:
        """What the next requests are answered with."""
        self._next.extend(answers)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take it down, and answer as was said, or as is usual."""
        length = int(request.headers["Content-Length"])
        parts = urlsplit(request.path)
        body = json.loads(request.rfile.read(length))
        asked = Asked(parts.path, parse_qs(parts.query), dict(request.headers.items()), body)
        self.asked.append(asked)
        if self._next:
            self._next.popleft()(request)
            return
        refusal = self._refusal(asked)
        if refusal is not None:
            status, message = refusal
            says(
                status, json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
            )(request)
            return
        says(200, json.dumps(self._embedded(asked.body)))(request)

    def _refusal(self, asked: Asked) -> tuple[int, str] | None:
        is_azure = asked.path.startswith("/openai/")
        shown = asked.headers.get("api-key" if is_azure else "Authorization", "")
        if shown.removeprefix("Bearer ") != KEY:
            return 401, f"Incorrect API key provided: {shown}"
        by_address = "/deployments/" in asked.path
        if by_address == ("model" in asked.body) or by_address != ("api-version" in asked.query):
            return 404, "Resource not found"
        return _wrong_with(asked.body, self.characters, self.shortens)

    def _embedded(self, body: Mapping[str, Any]) -> dict[str, Any]:
        dimensions = body.get("dimensions", NATURAL)
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text, dimensions)}
            for index, text in enumerate(body["input"])
        ]
        tokens = sum(len(text) for text in body["input"]) // 4
        return {
            "object": "list",
            "data": self.twist(data),
            "model": body.get("model", "behind-a-deployment"),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _wrong_with(body: Mapping[str, Any], characters: int, shortens: bool) -> tuple[int, str] | None:
    texts = body["input"]
    if not texts or not all(texts):
        return 400, "'$.input' is invalid: an input cannot be an empty string"
    if len(texts) > 2048 or sum(map(len, texts)) > characters:
        return 400, "This model's maximum context length is 8192 tokens"
    if "dimensions" in body and not shortens:
        return 400, "This model does not support specifying dimensions."
    return None


def _vector(text: str, dimensions: int) -> list[float]:
    """Not of unit length; texts that share words are alike."""
    vector = [0.0] * dimensions
    for word in text.split() or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 3.0
    return vector


def says(status: int, body: str, **headers: str) -> Answer:
    """A whole answer; ``retry_after`` and the like are headers."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(body.encode()))}
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        for name, value in {**given, **named}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body.encode())

    return answer


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    request.close_connection = True


def breaks_off(request: BaseHTTPRequestHandler) -> None:
    """Promise more than comes."""
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(b'{"data": [')
    request.close_connection = True


class Told(Protocol):
    """A server's mind: what it is asked goes in, and how often somebody connects."""

    url: str
    connections: int

    def answer(self, request: BaseHTTPRequestHandler) -> None: ...


@contextmanager
def serving(told: Told) -> Generator[None]:
    """Have it answer on a fresh port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are written apart: unlike this, the second would wait for the client.
        disable_nagle_algorithm = True
        timeout = 10

        def setup(self) -> None:
            super().setup()
            told.connections += 1

        def do_POST(self) -> None:
            told.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def embedding_server() -> Generator[EmbeddingServer]:
    """One on a fresh port."""
    told = EmbeddingServer()
    with serving(told):
        yield told
