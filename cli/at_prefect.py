"""Which Prefect server a command talks to, and how its client is told."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from factory_runtime.domain.errors import PrefectUnavailableError

if TYPE_CHECKING:
    from cli.door import StoreDoor


def find_api_url(door: StoreDoor) -> str | None:
    """Where Prefect answers: the server somebody else keeps, or that of the stack that is up."""
    from deployments.stack import find_stack

    if door.settings.prefect_api_url is not None:
        return door.settings.prefect_api_url
    state = find_stack(door.settings)
    return state.api_url if state is not None and state.ready else None


def get_api_url(door: StoreDoor) -> str:
    """As ``find_api_url``.

    Raises:
        PrefectUnavailableError: there is none.
    """
    url = find_api_url(door)
    if url is None:
        raise PrefectUnavailableError(
            "no Prefect server is up",
            hint="`factory up` starts one, or name yours: FACTORY_PREFECT_API_URL",
        )
    return url


@contextmanager
def at_prefect(door: StoreDoor, api_url: str) -> Generator[None]:
    """Have Prefect's client, imported here for the first time, talk to this server.

    It reads its settings when it is imported; later on, the stack may have been started anew, on
    another port.
    """
    if "prefect" not in sys.modules:
        from deployments.executor import set_prefect

        set_prefect(door.settings, api_url)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}):
        yield
