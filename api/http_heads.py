"""Bounds what httptools reads of a request before anybody can look at it.

It holds a head, or the trailers of a body, however long they are, and hands on two names of a host.
And it waits for a head as long as one is promised, while there are places for so many connections.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LIMIT = 64 * 1024
"""Bytes of an address, of headers and trailers together, and of what comes between two events."""
_SECONDS = 15.0
"""In which a head has come, from when there is nothing else to wait for."""


class BoundedHeads(HttpToolsProtocol):
    """Answers 400 to a request whose head is too long, or names its host twice (RFC 9112, 3.2).

    Who sends no head, or one too slowly, is left.
    """

    _due: asyncio.TimerHandle | None = None
    _fields = 0
    _silent = 0
    _went_on = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await_no_head()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_no_head()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def data_received(self, data: bytes) -> None:
        self._went_on = False
        super().data_received(data)
        self._silent = 0 if self._went_on else self._silent + len(data)
        if self._silent > _LIMIT and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("the host is named twice")
        self._await_no_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._went_on = True
        super().on_message_complete()

    def _await_head(self) -> None:
        self._due = self.loop.call_later(_SECONDS, self.transport.close)

    def _await_no_head(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _count(self, size: int) -> None:
        """What is raised here is a bad request to the parser."""
        self._fields += size
        if self._fields > _LIMIT:
            raise ValueError("the head is too long")
