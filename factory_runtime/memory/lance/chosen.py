"""The place that the settings name."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs

from factory_runtime.domain.errors import SettingsError
from factory_runtime.memory.lance.place import Place
from factory_runtime.settings import Settings

_PATIENCE = {"client_retry_timeout": "20", "connect_timeout": "2s", "timeout": "30s"}
"""LanceDB would go on for minutes; a run waits for a search."""


def chosen_place(settings: Settings) -> Place:
    """Where the memory's index is.

    Raises:
        SettingsError: an address lacks what it needs, or is given what makes no sense.
    """
    if settings.memory_url is None:
        return Place(str(settings.memory_folder))
    if settings.memory_account is None:
        raise SettingsError(
            f"nobody knows whose storage {settings.memory_url} is in",
            hint="name the storage account in FACTORY_MEMORY_ACCOUNT",
        )
    options = {"account_name": settings.memory_account, **_shown(settings), **_PATIENCE}
    if endpoint := settings.memory_endpoint:
        options["azure_storage_endpoint"] = endpoint
        options["allow_http"] = str(endpoint.startswith("http://")).lower()
    return Place(settings.memory_url, options)


def _shown(settings: Settings) -> dict[str, str]:
    """What the storage lets us in by; nothing where it is this machine's identity."""
    key, token = settings.memory_account_key, settings.memory_sas_token
    if key is not None and token is not None:
        raise SettingsError(
            "FACTORY_MEMORY_ACCOUNT_KEY and FACTORY_MEMORY_SAS_TOKEN are both given",
            hint="unset one of them",
        )
    if key is not None:
        return {"account_key": _checked_key(key.get_secret_value())}
    if token is not None:
        return {"azure_storage_sas_key": _checked_token(token.get_secret_value())}
    return {}


def _checked_key(key: str) -> str:
    try:
        decoded = base64.b64decode(key, validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise SettingsError(
            "FACTORY_MEMORY_ACCOUNT_KEY is no key of a storage account: those are base64",
            hint="copy it again; it ends in ==",
        )
    return key


def _checked_token(token: str) -> str:
    # The portal shows it as the query of a URL.
    query = token.removeprefix("?")
    if "sig" not in parse_qs(query):
        raise SettingsError(
            "FACTORY_MEMORY_SAS_TOKEN is no shared access signature: those have a sig=",
            hint="copy it again, without the address before it",
        )
    return query
