"""Where the API is, and what may be shown to it there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import httpx

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.loopback import is_loopback


class KeyInClearError(InputError):
    """A key would go over a network unencrypted, and nobody said that it may."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is, and as who it is asked.

    Attributes:
        url: of its host, like ``https://factory.example.com``; what follows the host is kept.
        key: an API key or a token; None where none is needed.
        plain_http: whether the key may go to another machine unencrypted.
        timeout: of one answer.
        patience: the most that a call is tried for.

    Raises:
        InputError: it is no address of http, or the key would go in clear where it may not.
    """

    url: str
    key: str | None = None
    timeout: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(seconds=20)
    plain_http: bool = False

    def __post_init__(self) -> None:
        try:
            parts = httpx.URL(self.url)
        except httpx.InvalidURL:
            parts = httpx.URL("")
        scheme, host = parts.scheme, parts.host
        if scheme not in ("http", "https") or not host:
            raise InputError(
                f"{self.url!r} is no address of a Factory API",
                hint="it is like https://factory.example.com: FACTORY_API_URL",
            )
        if self.key is None or self.plain_http or scheme == "https" or is_loopback(host):
            return
        raise KeyInClearError(
            f"whoever is on the way to {host} could read the key: it would go by plain http",
            hint="use https; where nobody else is on the way, set FACTORY_API_PLAIN_HTTP=true",
        )

    @property
    def trusts_environment(self) -> bool:
        """Whether calls may go through the proxy that the environment names, like HTTP_PROXY.

        A key in clear may not: the proxy would read it. Of https it is told no more than the host.
        """
        return self.key is None or httpx.URL(self.url).scheme == "https"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
