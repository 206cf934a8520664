"""Opens the embedder that a name in the settings means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from factory_runtime.domain.errors import SettingsError
from factory_runtime.ports import Embedder
from factory_runtime.settings import EMBEDDER_NAME, EMBEDDER_NAMES, Settings

DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
"""How long the vectors of well-known models are, where nobody asks for shorter ones."""


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
    from factory_runtime.memory.embedders.endpoint import ANSWER_BYTES, EndpointEmbedder
    from factory_runtime.memory.endpoints.addresses import Where, find_endpoint
    from factory_runtime.memory.endpoints.calling import EMBEDDINGS, Caller

    usual = DIMENSIONS.get(model)
    dimensions = int(length) if length else settings.embedding_dimensions or usual
    if dimensions is None:
        raise SettingsError(
            f"nobody knows how long the vectors of {model} are",
            hint="say it in FACTORY_EMBEDDING_DIMENSIONS",
        )
    where = Where(
        EMBEDDINGS,
        "embeddings",
        settings.embedding_url,
        settings.embedding_key,
        settings.embedding_api_version,
        settings.embedding_plain_http,
    )
    opened, named = find_endpoint(service, model, where)
    return EndpointEmbedder(
        Caller(opened, ANSWER_BYTES),
        f"{service}:{model}",
        dimensions,
        named=named,
        says_length=dimensions != usual,
        batch=settings.embedding_batch,
    )
