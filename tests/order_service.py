"""A web service that takes orders once for each key, as services do that know ``Idempotency-Key``.

The same key again gets the first answer; while the first is at work it gets 409.
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.data_server import DataServer

PATH = "/orders"


@dataclass
class OrderService:
    """Orders that were taken, at ``/orders`` of a server.

    Attributes:
        requests: method, headers (lower case) and body of each that came, in order.
        orders: what was ordered, by key.
        knows_keys: whether the same key again is the same order; else each request is one.
        before, after: called in the middle of each request, before its order is taken and after.
        loses_answers: how many of the next answers do not arrive.
    """

    server: DataServer
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list[Any])
    orders: dict[str, str] = field(default_factory=dict[str, str])
    knows_keys: bool = True
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    loses_answers: int = 0
    _at_work: set[str] = field(default_factory=set[str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.server.does(PATH, self._answer)
        self.server.does(f"{PATH}/one", self._find)

    @property
    def url(self) -> str:
        return self.server.url(PATH)

    @property
    def probe(self) -> dict[str, Any]:
        """Says with 200 whether there is an order, and with 404 that there is none."""
        return {"url": f"{self.url}/one"}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers.get("content-length", 0))).decode()
        key = headers.get("idempotency-key", "")
        with self._lock:
            self.requests.append((request.command, headers, body))
            if not self.knows_keys:
                key = f"{key}#{len(self.requests)}"
            if key in self._at_work:
                say(request, 409, {"error": "the first is at work"})
                return
            self._at_work.add(key)
        try:
            self.before()
            self.orders.setdefault(key, body)
            self.after()
        finally:
            self._at_work.discard(key)
        if self.loses_answers:
            self.loses_answers -= 1
            return
        number = list(self.orders).index(key) + 1
        say(request, 201, {"number": number}, location=f"{PATH}/{number}")

    def _find(self, request: BaseHTTPRequestHandler) -> None:
        found = list(self.orders.values())
        say(request, 200 if found else 404, {"number": 1, "order": found[0]} if found else {})


def say(request: BaseHTTPRequestHandler, status: int, value: object, **headers: str) -> None:
    body = json.dumps(value).encode()
    request.send_response(status)
    for name, said in {"content-type": "application/json", **headers}.items():
        request.send_header(name, said)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
