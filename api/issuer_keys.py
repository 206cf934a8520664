"""The keys that an issuer signs tokens with, as it publishes them.

OpenID Connect Discovery 1.0, section 4; JSON Web Key Sets, RFC 7517.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from factory_runtime.domain.errors import IssuerUnavailableError

_LOG = logging.getLogger("factory.tokens")

FRESH = 600.0
"""Seconds for which keys are taken as they were read: one that was withdrawn is good no longer."""
STALE = 86400.0
"""Likewise, where the issuer does not answer since."""
AGAIN = 30.0
"""Seconds between two looks for a key that is not there: whoever makes tokens up causes no more."""
AWAY = 10.0
"""Seconds for which an issuer that does not answer is not asked again."""

_PATIENCE = 5.0
_TURN = 1.0
_MOST_BYTES = 256 * 1024

Jwk = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Read:
    keys: Mapping[str, Jwk]
    at: float


class IssuerKeys:
    """One issuer's keys, by ``kid``. One flight to it at a time, for all threads of this process."""

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._flight = threading.Lock()
        self._read: _Read | None = None
        self._away_until = -float("inf")

    def find(self, kid: str) -> Jwk | None:
        """The key of that id; None where the issuer has none.

        Raises:
            IssuerUnavailableError: it does not tell its keys now.
        """
        read = self._read
        if read is not None and not self._is_due(read, kid):
            return read.keys.get(kid)
        # Who could make do with what was read before does not wait for another's look.
        if not self._flight.acquire(timeout=_TURN if read is None else 0):
            return self._make_do(kid, _TURN)
        try:
            if self._read is read:  # nobody has read them while this one waited
                self._read = self._look(read)
        except IssuerUnavailableError as error:
            wait = error.retry_after.total_seconds() if error.retry_after else AWAY
            return self._make_do(kid, wait)
        finally:
            self._flight.release()
        return self._read.keys.get(kid) if self._read is not None else None

    def _is_due(self, read: _Read, kid: str) -> bool:
        age = self._clock() - read.at
        return age >= FRESH or (kid not in read.keys and age >= AGAIN)

    def _make_do(self, kid: str, wait: float) -> Jwk:
        """The key as it was read before, for a while: an issuer that is away locks nobody out."""
        read = self._read
        if read is not None and kid in read.keys and self._clock() - read.at < STALE:
            return read.keys[kid]
        raise _away(self._issuer, wait)

    def _look(self, before: _Read | None) -> _Read:
        wait = self._away_until - self._clock()
        if wait > 0:
            raise _away(self._issuer, wait)
        try:
            keys = _fetch_keys(self._issuer)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as exc:
            self._away_until = self._clock() + AWAY
            _LOG.warning("issuer %s: %s: %s", self._issuer, type(exc).__name__, exc)
            raise _away(self._issuer, AWAY) from exc
        if before is not None and before.keys.keys() != keys.keys():
            _LOG.info("issuer %s has other keys: %s", self._issuer, ", ".join(sorted(keys)))
        return _Read(keys, self._clock())


def _fetch_keys(issuer: str) -> dict[str, Jwk]:
    with httpx.Client(timeout=_PATIENCE, follow_redirects=False) as client:
        told = _fetch(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != issuer:
            raise ValueError("the discovery document is another issuer's")
        place = told.get("jwks_uri")
        if not isinstance(place, str) or not _may_follow(issuer, place):
            raise ValueError("the discovery document names no safe place of keys")
        keys = _fetch(client, place).get("keys")
    if not isinstance(keys, list):
        raise ValueError("the place of keys has none")
    found = (cast("Jwk", key) for key in cast("list[Any]", keys) if isinstance(key, dict))
    return {kid: key for key in found if isinstance(kid := key.get("kid"), str)}


def _may_follow(issuer: str, place: str) -> bool:
    """Whether an issuer's keys may lie there: under TLS, or on the machine it is on itself."""
    there, here = urlsplit(place), urlsplit(issuer)
    return there.scheme == "https" or (there.scheme, there.netloc) == (here.scheme, here.netloc)


def _fetch(client: httpx.Client, url: str) -> dict[str, Any]:
    """A document. Who redirects, sends too much or trickles is as good as away."""
    end, body = time.monotonic() + _PATIENCE, bytearray()
    with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status_code != HTTPStatus.OK:
            raise ValueError(f"{url} answers {answer.status_code}")
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > _MOST_BYTES or time.monotonic() > end:
                raise ValueError(f"{url} sends too much, or too slowly")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"{url} is no JSON object")
    return cast("dict[str, Any]", document)


def _away(issuer: str, wait: float) -> IssuerUnavailableError:
    return IssuerUnavailableError(
        f"the issuer {issuer} does not tell its keys", retry_after=timedelta(seconds=wait)
    )
