"""Reads that are repeated: an answer has a tag, and who knows it is not sent it again (RFC 9110)."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LARGEST = 4 * 1024 * 1024
"""Bytes of an answer that are held to be tagged; a larger one goes out as it comes."""


class ETags:
    """ASGI: tags answers to GET that are JSON, and answers 304 to who has shown the tag."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, Headers(scope=scope).get("if-none-match", ""))
        await self._app(scope, receive, answer.send)


class _Answer:
    """Holds an answer until it is whole, where it is one to be tagged."""

    def __init__(self, send: Send, known: str) -> None:
        self._send = send
        self._known = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_tagged(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            is_last = not message.get("more_body", False)
            if is_last or len(self._body) > _LARGEST:
                await self._release(self._start, is_last)

    async def _release(self, start: Message, is_last: bool) -> None:
        self._start = None
        body = bytes(self._body)
        headers = MutableHeaders(scope=start)
        headers["Cache-Control"] = "private, no-cache"
        headers["Vary"] = "Accept, Authorization, X-Api-Key"
        if is_last:
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            headers["ETag"] = tag
            if self._known & {tag, "*"}:
                start = {**start, "status": 304}
                body = b""
                del headers["Content-Length"]
                del headers["Content-Type"]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})


def _is_tagged(message: Message) -> bool:
    headers = Headers(raw=message["headers"])
    is_json = headers.get("content-type", "").startswith("application/json")
    return message["status"] == 200 and is_json and "etag" not in headers
