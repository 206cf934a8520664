"""Bytes that somebody made, answered so that no browser takes them for a page of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import BinaryIO

from fastapi.responses import StreamingResponse

from factory_runtime.domain.download import disposition, safe_type

_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a body: the first byte and the one behind the last."""

    start: int
    stop: int


class UnsatisfiableError(Exception):
    """The range begins behind the end."""


def span_of(asked: str | None, size: int) -> Span | None:
    """The part that a ``Range`` header asks for; None is all of it.

    Several ranges at once, other units and what cannot be read are passed over, as RFC 9110,
    section 14.2, allows.

    Raises:
        UnsatisfiableError: there is no such part.
    """
    found = _RANGE.fullmatch(asked or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise UnsatisfiableError
    return Span(start, stop)


def download(
    body: BinaryIO,
    size: int,
    span: Span | None,
    name: str,
    media_type: str,
    tag: str,
    then: Callable[[], None] | None = None,
) -> StreamingResponse:
    """The body, or a part of it, as a file to be saved. It is closed when it was sent.

    ``then`` is done once the last of it was asked for: whoever takes it has got what is before.
    """
    part = span or Span(0, size)
    headers = {
        **headers_of(tag),
        "Content-Length": str(part.stop - part.start),
        "Content-Disposition": disposition(name),
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return StreamingResponse(
        _bytes_of(body, part, then),
        status_code=200 if span is None else 206,
        # Not by ``media_type``: that adds a charset to text, which nobody knows here.
        headers={**headers, "Content-Type": safe_type(media_type)},
    )


def headers_of(tag: str) -> dict[str, str]:
    """What goes with each answer about the body, whether it comes along or not."""
    return {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization, X-Api-Key",
        "X-Content-Type-Options": "nosniff",
    }


def is_known(tag: str, known: str | None) -> bool:
    """Whether an ``If-None-Match`` names the tag."""
    tags = {one.strip().removeprefix("W/") for one in (known or "").split(",")}
    return tag in tags or "*" in tags


def _bytes_of(body: BinaryIO, part: Span, then: Callable[[], None] | None) -> Generator[bytes]:
    with body:
        body.seek(part.start)
        left = part.stop - part.start
        while left > 0 and (chunk := body.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
    if then is not None and left == 0:
        then()
