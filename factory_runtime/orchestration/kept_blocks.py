"""Blocks as Prefect keeps them: encrypted, and their secrets shown to who asks for them by name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from factory_runtime.domain.errors import FactoryError, HostBusyError, InputError

_away = ContextVar("_away", default=False)


@contextmanager
def without_server() -> Generator[None]:
    """Ask for no block within: the person's own Prefect profile may name a server that is not ours."""
    token = _away.set(True)
    try:
        yield
    finally:
        _away.reset(token)


@contextmanager
def server_at(api_url: str | None) -> Generator[None]:
    """Ask this server within, where there is an address and this process knows no other."""
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    if api_url is None or get_current_settings().api.url is not None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: api_url}):
        yield


def read_block(kind: str, name: str) -> dict[str, Any]:
    """A block with its secrets, as it stands now.

    Args:
        kind: slug of its type.
        name: its own.

    Raises:
        HostBusyError: no Prefect server answers, or this process knows none.
        InputError: there is none of this name.
    """
    if _away.get():
        raise HostBusyError(
            "no Prefect server is up",
            hint="`factory up` starts one, or name yours: FACTORY_PREFECT_API_URL",
        )
    # Imported here: it takes two seconds, and few processes ask for a block.
    from prefect.settings import get_current_settings

    from factory_runtime.orchestration.prefect_api import GoneError, ask

    if get_current_settings().api.url is None:  # or else the client would start a server
        raise HostBusyError("this process knows no Prefect server")
    try:
        return ask(
            "GET",
            "/block_types/slug/{slug}/block_documents/name/{block_document_name}",
            query={"include_secrets": True},
            slug=kind,
            block_document_name=quote(name, safe=""),
        )
    except GoneError as exc:
        raise InputError(
            f"Prefect has no {kind.removeprefix('factory-').replace('-', ' ')} {name}",
            hint="`prefect block register -m blocks` adds their form to its UI",
        ) from exc
    except FactoryError as exc:
        raise HostBusyError(str(exc), hint=exc.hint) from exc
