"""Whether a Prefect server answers, for processes that do without its client: that takes seconds."""

from __future__ import annotations

import ssl
from functools import cached_property

import httpx

from factory_runtime.domain.errors import PrefectUnavailableError

_SECONDS = 0.8


class ServerHealth:
    """Asks a server as its own ``prefect server`` commands do: ``GET /api/health``."""

    def __init__(self, api_url: str | None) -> None:
        self._api_url = api_url

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Made once, and read from the system's certificates only where there is TLS."""
        if (self._api_url or "").startswith("https:"):
            return ssl.create_default_context()
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def check(self) -> None:
        """Return where it answers.

        Raises:
            PrefectUnavailableError: it does not, or none is set.
        """
        if self._api_url is None:
            raise PrefectUnavailableError(
                "no Prefect server is set", hint="set FACTORY_PREFECT_API_URL"
            )
        try:
            url = f"{self._api_url}/health"
            httpx.get(url, timeout=_SECONDS, verify=self._trust).raise_for_status()
        except httpx.HTTPError as exc:
            raise PrefectUnavailableError(f"{self._api_url} does not answer: {exc!r}") from exc
