"""One request to an address that a tenant has given, so that it reaches nothing inside.

The name is looked up once, every address found is checked, and one of those very addresses is asked;
the certificate stays that of the name. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import SplitResult

import httpx

from factory_runtime.domain.errors import DataRefusedError, HostBusyError
from factory_runtime.jobs.report.download import send, trusted
from factory_runtime.jobs.report.locations import addresses_of, parse_url, shown

SETTING = "FACTORY_CALLBACK_HOSTS"

_ANYWHERE_PUBLIC = "*"
_SECONDS = 15.0
_SILENT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What may be asked, and how much may come back.

    Attributes:
        hosts: inside a private network, or without TLS, or at another port than the usual: what an
            operator has listed, like ``hooks.internal:8080``. Everything public may be asked.
        size: bytes of an answer; there is no more of it.
        what: is asked for, in the words of an error.
    """

    hosts: Sequence[str]
    size: int
    what: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What somebody said to a request."""

    status: int
    body: bytes


def ask(
    outside: Outside,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str],
    content: bytes | None = None,
) -> Answered:
    """The answer, whatever its status.

    Raises:
        DataRefusedError: an address that may not be asked.
        HostBusyError: nobody answers, or not in time.
    """
    parts = check_url(outside, url)
    try:
        return asyncio.run(_ask(outside, parts, method, headers, content))
    except (TimeoutError, httpx.TimeoutException) as exc:
        raise HostBusyError(f"{shown(url)} takes longer than {_SECONDS:g} s") from exc
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
            f"{shown(url)} is without TLS", hint=f"use https, or have it listed: {SETTING}"
        )
    return parts


async def _ask(
    outside: Outside,
    parts: SplitResult,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
) -> Answered:
    tls = parts.scheme == "https"
    listed = (*outside.hosts, _ANYWHERE_PUBLIC) if tls else outside.hosts
    # The client's own time-outs are of each read: what gives a byte now and then keeps to them. The
    # look-up of the name has the resolver's.
    async with asyncio.timeout(_SECONDS):
        addresses = addresses_of(parts, listed, what=outside.what, setting=SETTING)
        verify = trusted() if tls else False
        async with (
            httpx.AsyncClient(verify=verify, trust_env=False, timeout=_SILENT_SECONDS) as client,
            aclosing(
                await send(
                    client, parts, addresses, headers=headers, method=method, content=content
                )
            ) as answer,
        ):
            return Answered(answer.status_code, await _some(answer, outside.size))


async def _some(answer: httpx.Response, size: int) -> bytes:
    """The first bytes of it, as they came."""
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk[: size - len(body)]
        if len(body) >= size:
            break
    return bytes(body)
