"""Whether a Prefect server answers, for processes that do without its client: that takes seconds."""

from __future__ import annotations

from functools import cached_property

import httpx

from factory_runtime.domain.errors import PrefectUnavailableError

_SECONDS = 0.8


class ServerHealth:
    """Asks a server as its own ``prefect server`` commands do: ``GET /api/health``."""

    def __init__(self, api_url: str | None) -> None:
        self._api_url = api_url

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(timeout=_SECONDS)

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
            self._client.get(f"{self._api_url}/health").raise_for_status()
        except httpx.HTTPError as exc:
            raise PrefectUnavailableError(f"{self._api_url} does not answer: {exc!r}") from exc
