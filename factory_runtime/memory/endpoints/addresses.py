"""Where the services lie that models are asked at, and how a request to each names its model."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pydantic import SecretStr

from factory_runtime.domain.errors import SettingsError
from factory_runtime.memory.endpoints.calling import Endpoint, Purpose

_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Where:
    """What the settings say of an endpoint.

    Attributes:
        purpose: which settings.
        path: of what is asked for, behind the service's own address.
        url: of the service; None is OpenAI's own.
        api_version: of Azure's older addresses; None is its ``v1``.
    """

    purpose: Purpose
    path: str
    url: str | None
    key: SecretStr | None
    api_version: str | None
    plain_http: bool


def find_endpoint(service: str, model: str, where: Where) -> tuple[Endpoint, str | None]:
    """The endpoint of ``openai`` or ``azure``, and how a request names the model.

    None where the address names it.

    Raises:
        SettingsError: a setting that it needs is missing or wrong.
    """
    return _azure(model, where) if service == "azure" else _openai(model, where)


def _openai(model: str, where: Where) -> tuple[Endpoint, str]:
    key, settings = _key(where), where.purpose.settings
    if where.url is None and key is None:
        raise SettingsError(
            f"{settings}_KEY is missing",
            hint=f"api.openai.com wants one; an endpoint of your own is named by {settings}_URL",
        )
    url = f"{_base(where) or _OPENAI}/{where.path}"
    return Endpoint(url, where.purpose, key=key, plain_http=where.plain_http), model


def _azure(deployment: str, where: Where) -> tuple[Endpoint, str | None]:
    key, settings = _key(where), where.purpose.settings
    # What the portal shows may be copied as it stands.
    base = _base(where).removesuffix("/openai/v1")
    if not base or key is None:
        raise SettingsError(
            f"{settings}_URL and {settings}_KEY are both needed for Azure OpenAI",
            hint="the URL is like https://NAME.openai.azure.com",
        )
    if where.api_version is None:
        url, named = f"{base}/openai/v1/{where.path}", deployment
    else:
        url = f"{base}/openai/deployments/{quote(deployment, safe='')}/{where.path}"
        url, named = f"{url}?api-version={quote(where.api_version, safe='')}", None
    return Endpoint(url, where.purpose, "api-key", key, where.plain_http), named


def _key(where: Where) -> str | None:
    return (where.key.get_secret_value().strip() or None) if where.key else None


def _base(where: Where) -> str:
    """The URL without a slash at its end; empty where none is set."""
    given = where.url or ""
    if "?" in given or "#" in given:
        raise SettingsError(f"{where.purpose.settings}_URL has neither a query nor a fragment")
    return given.rstrip("/")
