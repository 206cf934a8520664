"""How much may be asked for: requests by key, tenant and address, deliveries, and the size of a body.

Counted by the library ``limits``, in Redis where there is one, so that all processes agree; else in
this process, which then has its share.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import threading
import time
from datetime import timedelta
from typing import Any

from fastapi import HTTPException
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer, plain_problem
from factory_runtime.domain.access import Principal
from factory_runtime.domain.errors import LimitReachedError, SettingsError
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.settings import Settings

_LOG = logging.getLogger("factory.api")

_REDIS_SECONDS = 0.5
"""No request waits longer than this for its count."""

_SAME_DELIVERY = parse("10/minute")
"""Who has caught a delivery and sends it again uses up no more of its source's rate than that."""

_REST_SECONDS = 5.0
"""So long a Redis is not asked that has not answered: others need not wait for it too."""

_BODY_SECONDS = 30.0
"""In which a body has come: who sends a byte now and then holds a place of the process's."""

_CLOSE = {"Connection": "close"}
"""Who sends on is not listened to: the connection ends with the answer."""


class Limiter:
    """Counts requests in a window that slides, and refuses those beyond a rate.

    Attributes:
        deliveries_a_minute: of one source of webhooks, over all processes.
    """

    def __init__(self, settings: Settings) -> None:
        share = settings.api_processes if settings.redis_url is None else 1
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._own_turn = threading.Lock()  # what counts in memory may be asked by one thread alone
        self._shared = self._own if settings.redis_url is None else _in_redis(settings)
        self._asked_again_at = 0.0
        rate, tenant_rate = settings.api_webhook_rate, settings.api_webhook_tenant_rate
        self._of_source = _rate(rate, share, "FACTORY_API_WEBHOOK_RATE")
        self._of_sources = _rate(tenant_rate, share, "FACTORY_API_WEBHOOK_TENANT_RATE")
        whole = _rate(rate, 1, "FACTORY_API_WEBHOOK_RATE")
        self.deliveries_a_minute = max(1, whole.amount * 60 // whole.get_expiry())
        self._of_key = _rate(settings.api_rate, share, "FACTORY_API_RATE")
        self._of_tenant = _rate(settings.api_tenant_rate, share, "FACTORY_API_TENANT_RATE")
        self._of_address = _rate(settings.api_refused_rate, share, "FACTORY_API_REFUSED_RATE")

    @property
    def counts_here(self) -> bool:
        """Whether it asks nobody outside of this process."""
        return self._shared is self._own

    def count(self, principal: Principal) -> None:
        """Count one request of somebody.

        Raises:
            LimitReachedError: it is beyond their rate, or their tenant's.
        """
        who = principal.key_id or principal.name
        self._hit(self._of_key, f"{who} asks too often", "key", principal.tenant_id, who)
        self._hit(self._of_tenant, "the tenant asks too often", "tenant", principal.tenant_id)

    def count_guess(self, address: str) -> None:
        """Count one credential that is not good. Good ones of the same address are not put off.

        Raises:
            LimitReachedError: there have been too many.
        """
        why = "too many credentials that are not good"
        self._hit(self._of_address, why, "guess", _network_of(address))

    def count_delivery(self, source: WebhookSource, key: str) -> None:
        """Count what a source has signed; ``key`` tells it from the others that it has.

        Raises:
            LimitReachedError: it is beyond the source's rate, or its tenant's; or the same too often.
        """
        who = (source.tenant_id, source.id)
        self._hit(_SAME_DELIVERY, "the same delivery comes too often", "delivery", *who, key)
        self._hit(self._of_source, f"{source.name} sends too often", "source", *who)
        why = "the sources of the tenant send too often"
        self._hit(self._of_sources, why, "sources", source.tenant_id)

    def _hit(self, item: RateLimitItem, why: str, *who: str) -> None:
        if not self._ask("hit", item, *who):
            self._refuse(item, why, *who)

    def _refuse(self, item: RateLimitItem, why: str, *who: str) -> None:
        reset_at, _ = self._ask("get_window_stats", item, *who)
        wait = max(1.0, float(reset_at) - time.time())
        raise LimitReachedError(
            f"{why}: no more than {item.amount} in {item.get_expiry()} s",
            retry_after=timedelta(seconds=min(wait, item.get_expiry())),
        )

    def _ask(self, what: str, item: RateLimitItem, *who: str) -> Any:
        if self._shared is not self._own and time.monotonic() >= self._asked_again_at:
            try:
                return getattr(self._shared, what)(item, *who)
            except Exception as error:  # whatever Redis has: requests go on, counted here
                self._asked_again_at = time.monotonic() + _REST_SECONDS
                _LOG.warning("Redis does not count requests: %s", type(error).__name__)
        with self._own_turn:
            return getattr(self._own, what)(item, *who)


class BodyLimit:
    """ASGI: refuses a body that is too large, before or as soon as it has come, or too slow."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float = _BODY_SECONDS) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _said_length(scope) > self._limit:
            await self._refuse(scope, receive, send)
            return
        seen, more = 0, True
        until = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal seen, more
            try:
                # What follows the body is that its sender has left, which may take as long as it likes.
                async with asyncio.timeout_at(until if more else None):
                    message = await receive()
            except TimeoutError:
                # The one kind of error that reading a body lets through as it is.
                detail = f"a body comes within {self._seconds:g} s"
                raise HTTPException(408, detail, _CLOSE) from None
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, self._detail, _CLOSE)
            return message

        await self._app(scope, counted, send)

    @property
    def _detail(self) -> str:
        return f"a body has {self._limit} bytes at most"

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = answer(plain_problem(413, "body-too-large", self._detail), _CLOSE)
        await response(scope, receive, send)


def _said_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _network_of(address: str) -> str:
    """Whose an address is: of IPv6 everybody has 2**64 of them at the least."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # whatever a proxy says
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), 64), strict=False))


def _rate(text: str, share: int, name: str) -> RateLimitItem:
    try:
        whole = parse(text)
    except ValueError as exc:
        raise SettingsError(
            f"{name} is {text!r}, which is no rate", hint="600/minute, say"
        ) from exc
    return type(whole)(max(1, whole.amount // share), whole.multiples)


def _in_redis(settings: Settings) -> SlidingWindowCounterRateLimiter:
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    try:
        storage = RedisStorage(
            url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
        )
    except Exception as exc:
        raise SettingsError("FACTORY_REDIS_URL names no Redis that can be used") from exc
    return SlidingWindowCounterRateLimiter(storage)
