"""Opens the embedder that a name in the settings means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from factory_runtime.domain.errors import SettingsError
from factory_runtime.ports import Embedder
from factory_runtime.settings import EMBEDDER_NAME, EMBEDDER_NAMES, Settings

if TYPE_CHECKING:
    from factory_runtime.memory.embedders.calling import Endpoint

DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
"""How long the vectors of well-known models are, where nobody asks for shorter ones."""
_OPENAI = "https://api.openai.com/v1"


def open_embedder(name: str, settings: Settings) -> Embedder:
    """The embedder; nothing is loaded or asked before the first text.

    Args:
        name: as ``FACTORY_EMBEDDER`` has it. ``openai:text-embedding-3-small@512`` says how long
            vectors are to be, and counts more than ``FACTORY_EMBEDDING_DIMENSIONS``.
        settings: where endpoints are.

    Raises:
        SettingsError: no embedder is called so, or a setting that it needs is missing or wrong.
    """
    if name == "minilm":
        from factory_runtime.memory.embedders.minilm import MiniLmEmbedder

        return MiniLmEmbedder()
    if name == "light":
        from factory_runtime.memory.embedders.light import LightEmbedder

        return LightEmbedder()
    found = re.fullmatch(EMBEDDER_NAME, name)
    if found is None:
        raise SettingsError(f"no embedder is called {name!r}", hint=f"there are {EMBEDDER_NAMES}")
    return _open_endpoint(found["service"], found["model"], found["dimensions"], settings)


def _open_endpoint(service: str, model: str, length: str | None, settings: Settings) -> Embedder:
    # httpx, and what reads answers, are for who asks an endpoint.
    from factory_runtime.memory.embedders.calling import Caller
    from factory_runtime.memory.embedders.endpoint import EndpointEmbedder

    usual = DIMENSIONS.get(model)
    dimensions = int(length) if length else settings.embedding_dimensions or usual
    if dimensions is None:
        raise SettingsError(
            f"nobody knows how long the vectors of {model} are",
            hint="say it in FACTORY_EMBEDDING_DIMENSIONS",
        )
    opened, named = _azure(model, settings) if service == "azure" else _openai(model, settings)
    return EndpointEmbedder(
        Caller(opened),
        f"{service}:{model}",
        dimensions,
        named=named,
        says_length=dimensions != usual,
        batch=settings.embedding_batch,
    )


def _openai(model: str, settings: Settings) -> tuple[Endpoint, str]:
    from factory_runtime.memory.embedders.calling import Endpoint

    key = _key(settings)
    if settings.embedding_url is None and key is None:
        raise SettingsError(
            "FACTORY_EMBEDDING_KEY is missing",
            hint="api.openai.com wants one; an endpoint of your own is named by"
            " FACTORY_EMBEDDING_URL",
        )
    url = f"{_base(settings) or _OPENAI}/embeddings"
    return Endpoint(url, key=key, plain_http=settings.embedding_plain_http), model


def _azure(deployment: str, settings: Settings) -> tuple[Endpoint, str | None]:
    from factory_runtime.memory.embedders.calling import Endpoint

    key = _key(settings)
    # What the portal shows may be copied as it stands.
    base = _base(settings).removesuffix("/openai/v1")
    if not base or key is None:
        raise SettingsError(
            "FACTORY_EMBEDDING_URL and FACTORY_EMBEDDING_KEY are both needed for Azure OpenAI",
            hint="the URL is like https://NAME.openai.azure.com",
        )
    version = settings.embedding_api_version
    if version is None:
        url, named = f"{base}/openai/v1/embeddings", deployment
    else:
        url = f"{base}/openai/deployments/{quote(deployment, safe='')}/embeddings"
        url, named = f"{url}?api-version={quote(version, safe='')}", None
    return Endpoint(url, "api-key", key, settings.embedding_plain_http), named


def _key(settings: Settings) -> str | None:
    given = settings.embedding_key
    return (given.get_secret_value().strip() or None) if given else None


def _base(settings: Settings) -> str:
    """The URL without a slash at its end; empty where none is set."""
    given = settings.embedding_url or ""
    if "?" in given or "#" in given:
        raise SettingsError("FACTORY_EMBEDDING_URL has neither a query nor a fragment")
    return given.rstrip("/")
