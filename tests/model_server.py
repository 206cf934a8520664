"""An endpoint of a language model on the loopback, over real sockets, that misbehaves as a test says.

Requests, answers and refusals are shaped as in OpenAI's API reference ("Create chat completion",
https://platform.openai.com/docs/api-reference/chat/create: ``model``, ``messages`` with ``role`` and
``content``, ``max_completion_tokens``; ``choices`` with ``message`` and ``finish_reason``, ``usage``) and
in Azure OpenAI's REST reference (https://learn.microsoft.com/azure/ai-services/openai/reference: both of
its addresses, the header ``api-key``, and 400 where its filter refuses).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.embedding_server import KEY, Answer, Asked, says, serving

PROSE = "Orders was asked for, and made."


@dataclass
class ModelServer:
    """Answers as an endpoint does, unless it was told what to do with the next request.

    Attributes:
        bound: the one name of a bound on the answer's length that its model knows; None is any.
        write: what its model says of a record.
        asked: in order.
        heard: all bytes of the requests.
        connections: that were opened.
    """

    url: str = ""
    bound: str | None = None
    write: Callable[[Mapping[str, Any]], str] = lambda record: PROSE
    asked: list[Asked] = field(default_factory=list[Asked])
    heard: bytearray = field(default_factory=bytearray)
    connections: int = 0
    _next: deque[Answer] = field(default_factory=deque[Answer])

    def next(self, *answers: Answer) -> None:
        """What the next requests are answered with."""
        self._next.extend(answers)

    def forget(self) -> None:
        """Answer from now on as if nobody had asked before, and nothing had been said."""
        self.bound, self.write = None, lambda record: PROSE
        self.asked.clear()
        self.heard.clear()
        self._next.clear()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it was asked about, in order."""
        return [json.loads(asked.body["messages"][-1]["content"]) for asked in self.asked]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take it down, and answer as was said, or as is usual."""
        content = request.rfile.read(int(request.headers["Content-Length"]))
        self.heard += f"{request.requestline}\n{request.headers}\n".encode() + content
        parts = urlsplit(request.path)
        headers = dict(request.headers.items())
        asked = Asked(parts.path, parse_qs(parts.query), headers, json.loads(content))
        self.asked.append(asked)
        if self._next:
            self._next.popleft()(request)
            return
        refusal = self._refusal(asked)
        if refusal is not None:
            status, message = refusal
            says(status, json.dumps({"error": {"message": message}}))(request)
            return
        says_prose(self.write(self.records[-1]))(request)

    def _refusal(self, asked: Asked) -> tuple[int, str] | None:
        is_azure = asked.path.startswith("/openai/")
        shown = asked.headers.get("api-key" if is_azure else "Authorization", "")
        if shown.removeprefix("Bearer ") != KEY:
            return 401, f"Incorrect API key provided: {shown}"
        by_address = "/deployments/" in asked.path
        if by_address == ("model" in asked.body) or by_address != ("api-version" in asked.query):
            return 404, "Resource not found"
        if [one["role"] for one in asked.body["messages"]] != ["system", "user"]:
            return 400, "Invalid value for 'messages'"
        bounds = {"max_completion_tokens", "max_tokens"} & asked.body.keys()
        if self.bound is not None and bounds != {self.bound}:
            return 400, f"Unsupported parameter. Use '{self.bound}' instead."
        return None


def says_prose(
    content: str | None, *, refusal: str | None = None, finish_reason: str = "stop"
) -> Answer:
    """A whole answer of a model."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 330}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "small-2026-01-01",
        "choices": [choice],
        "usage": usage,
    }
    return says(200, json.dumps(answer))


@contextmanager
def model_server() -> Generator[ModelServer]:
    """One on a fresh port."""
    told = ModelServer()
    with serving(told):
        yield told
