"""Bounds what httptools reads of a request before anybody can look at it.

It holds a head, or the trailers of a body, however long they are, and hands on two names of a host.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LIMIT = 64 * 1024
"""Bytes of an address, of headers and trailers together, and of what comes between two events."""


class BoundedHeads(HttpToolsProtocol):
    """Answers 400 to a request whose head is too long, or names its host twice (RFC 9112, 3.2)."""

    _fields = 0
    _silent = 0
    _went_on = False

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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._went_on = True
        super().on_message_complete()

    def _count(self, size: int) -> None:
        """What is raised here is a bad request to the parser."""
        self._fields += size
        if self._fields > _LIMIT:
            raise ValueError("the head is too long")
