"""One request to an address that a tenant has given, so that it reaches nothing inside.

The name is looked up once, every address found is checked, and one of those very addresses is asked;
the certificate stays that of the name. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult

import httpx

from factory_runtime.domain.errors import DataRefusedError, HostBusyError
from factory_runtime.jobs.report.download import send, trusted
from factory_runtime.jobs.report.locations import addresses_of, parse_url, shown

_ANYWHERE_PUBLIC = "*"
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_GRACE = 0.25
"""Seconds beyond the time: cut off in a handshake, a client would leave its socket open."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What may be asked, and how much may come back.

    Attributes:
        hosts: what an operator has listed, like ``hooks.internal:8080``.
        setting: that they are listed in.
        what: is asked for, in the words of an error.
        size: bytes of an answer; there is no more of it.
        time: from the look-up of the name to the last byte.
        public: whether everything public may be asked over TLS, listed or not.
    """

    hosts: Sequence[str]
    setting: str
    what: str
    size: int
    time: timedelta = timedelta(seconds=15)
    public: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What somebody said to a request; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    outside: Outside,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str],
    content: bytes | None = None,
    check: Callable[[], None] = lambda: None,
) -> Answered:
    """The answer, whatever its status.

    Args:
        outside: the bounds.
        url: of http or https.
        method: in capitals.
        headers: beside those of every request of ours.
        content: its body.
        check: called now and then; it raises where nobody wants the answer any more.

    Raises:
        DataRefusedError: an address that may not be asked.
        HostBusyError: nobody answers, or not in time.
    """
    parts = check_url(outside, url)
    try:
        return asyncio.run(_watched(_ask(outside, parts, method, headers, content), check))
    except (TimeoutError, httpx.TimeoutException) as exc:
        seconds = outside.time.total_seconds()
        raise HostBusyError(f"{shown(url)} takes longer than {seconds:g} s") from exc
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
        raise HostBusyError(f"{shown(url)} does not answer: {type(exc).__name__}: {exc}") from exc


def check_url(outside: Outside, url: str) -> SplitResult:
    """The parts of an address, as far as it says by itself that it may be asked.

    Raises:
        DataRefusedError: it may not.
    """
    parts = parse_url(url)
    if parts.scheme != "https" and not outside.hosts:
        raise DataRefusedError(
            f"{shown(url)} is without TLS", hint=f"use https, or have it listed: {outside.setting}"
        )
    return parts


async def _watched(asking: Coroutine[Any, Any, Answered], check: Callable[[], None]) -> Answered:
    task = asyncio.ensure_future(asking)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            check()
        return task.result()
    finally:
        task.cancel()


async def _ask(
    outside: Outside,
    parts: SplitResult,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
) -> Answered:
    tls = parts.scheme == "https"
    listed = (*outside.hosts, _ANYWHERE_PUBLIC) if tls and outside.public else outside.hosts
    seconds = outside.time.total_seconds()
    silence = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
    # The client's own time-outs are of each read: what gives a byte now and then keeps to them. The
    # look-up of the name has the resolver's.
    async with asyncio.timeout(seconds + _GRACE):
        addresses = addresses_of(parts, listed, what=outside.what, setting=outside.setting)
        verify = trusted() if tls else False
        async with (
            httpx.AsyncClient(verify=verify, trust_env=False, timeout=silence) as client,
            aclosing(
                await send(
                    client, parts, addresses, headers=headers, method=method, content=content
                )
            ) as answer,
        ):
            said = {name.lower(): value for name, value in answer.headers.items()}
            return Answered(answer.status_code, said, await _some(answer, outside.size))


async def _some(answer: httpx.Response, size: int) -> bytes:
    """The first bytes of it, as they came."""
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk[: size - len(body)]
        if len(body) >= size:
            break
    return bytes(body)
