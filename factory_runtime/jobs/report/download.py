"""Fetch a body over HTTP: bounded in time and size, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import SplitResult, urljoin

import certifi
import httpx

from factory_runtime.domain.errors import DataRefusedError, HostBusyError, HostRejectedError
from factory_runtime.jobs.report.locations import addresses_of, parse_url, port_of, shown
from factory_runtime.telemetry.trace_context import trace_headers

_MOST_REDIRECTS = 5
_LONGEST_SILENCE = 10.0
_GRACE = 0.25
"""Seconds beyond the time: cut off in a handshake, a client would leave its socket open."""

TRY_AGAIN = frozenset({408, 425, 429})
"""Statuses of requests that may be taken later, beside those of servers that are not well."""
_PARTIAL = 206
_AGENT = {"User-Agent": "factory-runtime", "Accept-Encoding": "identity"}
_HEADERS = {"Accept": "*/*"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one download may take.

    Attributes:
        hosts: that may be asked, as ``FACTORY_DATA_HOSTS`` lists them.
        size: bytes.
        time: from the first look-up of a name to the last byte.
    """

    hosts: tuple[str, ...]
    size: int
    time: timedelta


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a server said of a body."""

    content_type: str
    size: int


def download(
    url: str, out: BinaryIO, limits: Limits, check: Callable[[], None], now: datetime
) -> Downloaded:
    """Write the body of an address to ``out``, which is to be thrown away if this raises.

    Redirects are followed to hosts that are listed as well, and never from https to http.

    Args:
        url: of http or https.
        out: a file.
        limits: of it.
        check: called between chunks; it raises where nobody wants the body any more.
        now: for a ``Retry-After`` that names a time.

    Raises:
        DataRefusedError: an address that may not be asked, or more bytes than allowed.
        HostBusyError: nobody answers, or not in time, or asks to come back.
        HostRejectedError: the server refuses.
    """
    return asyncio.run(_download(url, out, limits, check, now))


async def _download(
    url: str, out: BinaryIO, limits: Limits, check: Callable[[], None], now: datetime
) -> Downloaded:
    parts, seconds = parse_url(url), limits.time.total_seconds()
    until = time.monotonic() + seconds
    try:
        # The client's timeouts are of each read: what gives a byte now and then keeps to them.
        async with asyncio.timeout(seconds + _GRACE):
            for _ in range(_MOST_REDIRECTS + 1):
                moved = await _ask(parts, out, limits, check, now, until)
                if isinstance(moved, Downloaded):
                    return moved
                if parts.scheme == "https" and moved.scheme == "http":
                    raise DataRefusedError(f"{shown(url)} leads away from https")
                parts = moved
    except (TimeoutError, httpx.TimeoutException) as exc:
        raise _too_slow(url, limits) from exc
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
        raise HostBusyError(f"{shown(url)} does not answer: {type(exc).__name__}: {exc}") from exc
    raise DataRefusedError(f"{shown(url)} redirects more than {_MOST_REDIRECTS} times")


async def _ask(
    parts: SplitResult,
    out: BinaryIO,
    limits: Limits,
    check: Callable[[], None],
    now: datetime,
    until: float,
) -> Downloaded | SplitResult:
    """One request: the body, or where it has moved to."""
    check()
    addresses = addresses_of(parts, limits.hosts)
    verify = trusted() if parts.scheme == "https" else False
    silence = min(_LONGEST_SILENCE, max(0.1, until - time.monotonic()))
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=silence) as client:
        answer = await send(client, parts, addresses, headers=_HEADERS)
        try:
            url = parts.geturl()
            if answer.has_redirect_location:
                return parse_url(urljoin(url, answer.headers["location"]))
            _refuse_status(answer, url, now)
            if "content-encoding" in answer.headers:
                # Not asked for; unpacked, a few bytes may be very many.
                raise HostBusyError(f"{shown(url)} answers packed, and was not asked to")
            size = await _copy(answer, out, url, limits, check)
            return Downloaded(answer.headers.get("content-type", ""), size)
        finally:
            await answer.aclose()


async def send(
    client: httpx.AsyncClient,
    parts: SplitResult,
    addresses: list[str],
    *,
    headers: Mapping[str, str],
    method: str = "GET",
    content: bytes | None = None,
) -> httpx.Response:
    """Ask the first of the addresses that answers, and no other: the name is not looked up again."""
    host, port = port_of(parts)
    named = {"Host": parts.netloc, **_AGENT, **trace_headers(), **headers}
    lost: httpx.ConnectError | None = None
    for address in addresses:
        url = httpx.URL(parts._replace(fragment="").geturl()).copy_with(host=address, port=port)
        request = client.build_request(
            method, url, headers=named, content=content, extensions={"sni_hostname": host}
        )
        request.extensions["timeout"] = client.timeout.as_dict()
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except httpx.ConnectError as exc:
            lost = exc
    raise lost or httpx.ConnectError(f"{host} has no address")


async def _copy(
    answer: httpx.Response, out: BinaryIO, url: str, limits: Limits, check: Callable[[], None]
) -> int:
    size = 0
    async for chunk in answer.aiter_raw():  # as it comes: gathered, a trickle is never looked at
        check()
        size += len(chunk)
        if size > limits.size:
            raise DataRefusedError(
                f"{shown(url)} sends more than {limits.size} bytes", hint="raise max_mib"
            )
        out.write(chunk)
    return size


def _refuse_status(answer: httpx.Response, url: str, now: datetime) -> None:
    status = answer.status_code
    if answer.is_success and status != _PARTIAL:
        return
    message = f"{shown(url)} answers {status}"
    if status >= 500 or status in TRY_AGAIN:
        raise HostBusyError(
            message, retry_after=retry_after(answer.headers.get("retry-after", ""), now)
        )
    raise HostRejectedError(message, hint="it will again: look at the address, or at who may ask")


def retry_after(asked: str, now: datetime) -> timedelta | None:
    """What the header asks for: seconds or a date; what is neither, or has passed, says nothing."""
    asked = asked.strip()
    if asked.isascii() and asked.isdigit():
        return timedelta(seconds=min(int(asked[:9]), 86_400))
    try:
        due = parsedate_to_datetime(asked)
    except ValueError:
        return None
    left = (due if due.tzinfo else due.replace(tzinfo=UTC)) - now
    return left if left > timedelta(0) else None


def trusted() -> ssl.SSLContext:
    """Certificates of the machine's own choice where it has made one."""
    chosen = os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=chosen or certifi.where())


def _too_slow(url: str, limits: Limits) -> HostBusyError:
    seconds = limits.time.total_seconds()
    return HostBusyError(f"{shown(url)} takes longer than {seconds:g} s")
