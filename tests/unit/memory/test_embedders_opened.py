"""What the settings open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

from cli.door import BadSettingsError, read_settings
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import MemoryUnavailableError, SettingsError
from factory_runtime.memory.embedders.light import LightEmbedder
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.embedders.opened import open_embedder
from factory_runtime.settings import Settings
from tests.embedding_server import KEY, NATURAL, EmbeddingServer, embedding_server


@pytest.fixture
def server() -> Generator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


def settings(server: EmbeddingServer | None = None, **given: Any) -> Settings:
    where = {"url": server.url, "key": KEY, "dimensions": NATURAL} if server else {}
    return Settings.model_validate(
        {f"embedding_{name}": value for name, value in {**where, **given}.items()}
    )


def test_without_a_word_it_is_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACTORY_EMBEDDER", raising=False)
    assert isinstance(open_runtime(Settings()).embedder, MiniLmEmbedder)


def test_a_runtime_opens_each_embedder_once() -> None:
    runtime = open_runtime(Settings(embedder="light"))
    assert isinstance(runtime.embedder, LightEmbedder)
    assert runtime.open_embedder("light") is runtime.embedder
    assert runtime.open_embedder("minilm") is not runtime.embedder


def test_an_openai_endpoint_is_asked_at_its_address_with_its_key(server: EmbeddingServer) -> None:
    open_embedder("openai:small", settings(server, url=f"{server.url}/v1/")).embed(["x"])
    (asked,) = server.asked
    assert (asked.path, asked.headers["Authorization"]) == ("/v1/embeddings", f"Bearer {KEY}")
    assert asked.body["model"] == "small"


@pytest.mark.parametrize("shown_as", ["", "/", "/openai/v1", "/openai/v1/"])
def test_azure_is_asked_at_its_address_with_its_key(server: EmbeddingServer, shown_as: str) -> None:
    given = settings(server, url=server.url + shown_as)
    open_embedder("azure:small", given).embed(["x"])
    (asked,) = server.asked
    assert (asked.path, asked.headers["api-key"]) == ("/openai/v1/embeddings", KEY)
    assert asked.body["model"] == "small"


def test_azures_older_address_names_the_deployment_and_the_version(
    server: EmbeddingServer,
) -> None:
    given = settings(server, api_version="2024-10-21")
    open_embedder("azure:small", given).embed(["x"])
    (asked,) = server.asked
    assert asked.path == "/openai/deployments/small/embeddings"
    assert asked.query == {"api-version": ["2024-10-21"]}
    assert "model" not in asked.body


def test_a_wrong_key_is_not_shown(server: EmbeddingServer) -> None:
    wrong = "sk-wrong-and-still-secret"
    with pytest.raises(MemoryUnavailableError) as caught:
        open_embedder("openai:small", settings(server, key=wrong)).embed(["x"])
    assert wrong not in caught.value.explain()
    assert wrong not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("name", "given", "model", "dimensions"),
    [
        ("openai:text-embedding-3-small", {}, "openai:text-embedding-3-small@1536", 1536),
        ("openai:text-embedding-3-large@256", {}, "openai:text-embedding-3-large@256", 256),
        (
            "openai:text-embedding-3-small",
            {"dimensions": 512},
            "openai:text-embedding-3-small@512",
            512,
        ),
        ("openai:bge@768", {"dimensions": 512}, "openai:bge@768", 768),
        ("openai:BAAI/bge-m3@1024", {}, "openai:BAAI--bge-m3@1024", 1024),
        ("openai:nomic-embed-text:latest@768", {}, "openai:nomic-embed-text:latest@768", 768),
        ("azure:ours@3072", {"url": "https://ours.openai.azure.com"}, "azure:ours@3072", 3072),
    ],
)
def test_one_model_with_vectors_of_two_lengths_is_two_models(
    name: str, given: dict[str, Any], model: str, dimensions: int
) -> None:
    opened = open_embedder(name, settings(key=KEY, **given))
    assert (opened.model, opened.dimensions) == (model, dimensions)


def test_a_well_known_model_is_not_told_how_long_its_vectors_are(server: EmbeddingServer) -> None:
    opened = open_embedder("openai:text-embedding-ada-002", settings(server, dimensions=None))
    with pytest.raises(MemoryUnavailableError, match="64 dimensions instead of 1536"):
        opened.embed(["x"])
    assert "dimensions" not in server.asked[0].body


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("openai:text-embedding-3-small", {}, "FACTORY_EMBEDDING_KEY"),
        ("openai:bge", {"key": KEY}, "FACTORY_EMBEDDING_DIMENSIONS"),
        ("azure:ours@256", {"key": KEY}, "FACTORY_EMBEDDING_URL"),
        ("azure:ours@256", {"url": "https://ours.openai.azure.com"}, "FACTORY_EMBEDDING_KEY"),
        ("openai:bge@9", {"url": "http://models.internal/v1"}, "FACTORY_EMBEDDING_PLAIN_HTTP"),
        ("openai:bge@9", {"url": "https://models/v1?key=1"}, "FACTORY_EMBEDDING_URL"),
        ("openai:bge@9", {"url": "models/v1"}, "FACTORY_EMBEDDING_URL"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(
    name: str, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        open_embedder(name, settings(**given))
    assert says in caught.value.explain()


@pytest.mark.parametrize(
    "name",
    [
        *["", "MiniLM", "minilm ", "openai", "openai:", "openai:a b", "openai:../x", "openai:x\n"],
        *[
            "azure:x@0",
            "azure:x@many",
            "azure:x@99999",
            "cohere:x",
            "light@256",
            "azure:" + "x" * 101,
        ],
    ],
)
def test_a_misspelt_embedder_is_refused_with_those_there_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="no embedder") as caught:
        open_embedder(name, Settings())
    assert "minilm, light, openai:MODEL and azure:DEPLOYMENT" in caught.value.explain()
    monkeypatch.setenv("FACTORY_EMBEDDER", name)
    with pytest.raises(BadSettingsError) as refused:
        read_settings()
    assert "azure:DEPLOYMENT" in refused.value.explain()


def test_opening_any_of_them_imports_nothing_heavy() -> None:
    script = """
import sys
from factory_runtime.bootstrap import open_runtime
from factory_runtime.settings import Settings
runtime = open_runtime(Settings())
for name in ("minilm", "light"):
    runtime.open_embedder(name)
heavy = {"numpy", "tokenizers", "wordllama", "httpx", "requests"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
