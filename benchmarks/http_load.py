"""A load of HTTP requests over kept connections, bounded in time: the same for us and for others.

It writes and reads bytes and little more, so that it takes few of the two cores from the server.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_APART_SECONDS = 0.02


@dataclass
class Load:
    """What came of it.

    Attributes:
        seconds: that it lasted.
        took: seconds of each answer that was wanted.
        others: answers of other statuses, by status.
    """

    seconds: float = 0.0
    took: list[float] = field(default_factory=list[float])
    others: dict[int, int] = field(default_factory=dict[int, int])

    def __add__(self, other: Load) -> Load:
        counts = Counter(self.others) + Counter(other.others)
        return Load(self.seconds + other.seconds, self.took + other.took, dict(counts))

    @property
    def rate(self) -> float:
        """Wanted answers in a second."""
        return len(self.took) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds, within which this share of the answers came."""
        return statistics.quantiles(self.took, n=1000)[min(998, int(share * 1000))]

    def __str__(self) -> str:
        spread = ", ".join(f"p{p} {self.quantile(p / 100) * 1e3:.1f} ms" for p in (50, 95, 99))
        left = f"; others {self.others}" if self.others else ""
        return f"{self.rate:7.1f} a second, {spread}{left}"


Request = Callable[[int], bytes]
"""The bytes of the request of a number."""


def request(
    method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """One HTTP/1.1 request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(url: str, make: Request, wanted: int, *, seconds: float, connections: int) -> Load:
    """Ask for so long, on so many connections, one request after the other on each."""
    return asyncio.run(_load(url, make, wanted, seconds, connections))


async def _load(url: str, make: Request, wanted: int, seconds: float, connections: int) -> Load:
    found, numbers = Load(), iter(range(1_000_000_000))
    parts = urlsplit(url)
    began = time.perf_counter()

    async def ask_on(place: int) -> None:
        # One after the other: of several processes, the first would take all that come at once.
        await asyncio.sleep(place * _APART_SECONDS)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while time.perf_counter() - began < seconds:
                at = time.perf_counter()
                writer.write(make(next(numbers)))
                status = await _answer(reader)
                if status == wanted:
                    found.took.append(time.perf_counter() - at)
                else:
                    found.others[status] = found.others.get(status, 0) + 1
        finally:
            writer.close()

    await asyncio.gather(*(ask_on(place) for place in range(connections)))
    found.seconds = time.perf_counter() - began
    return found


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    start = head.find(b"content-length:")
    if start >= 0:
        await reader.readexactly(int(head[start + 15 :].split(b"\r\n", 1)[0]))
    elif b"transfer-encoding: chunked" in head:
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head.split(b" ", 2)[1])
