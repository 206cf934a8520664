"""What every embedder promises."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from factory_runtime.memory.embedders.light import LightEmbedder
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.embedders.opened import open_embedder
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.ports.memory import Embedder, model_name
from factory_runtime.settings import Settings
from tests.embedding_server import KEY, NATURAL, embedding_server

NAMES = ("minilm", "light", "words", "openai", "azure")


@pytest.fixture(scope="module")
def fresh() -> Generator[Mapping[str, Callable[[], Embedder]]]:
    with embedding_server() as server:
        settings = Settings.model_validate(
            {"embedding_url": server.url, "embedding_key": KEY, "embedding_dimensions": NATURAL}
        )
        yield {
            "minilm": MiniLmEmbedder,
            "light": LightEmbedder,
            "words": WordsEmbedder,
            "openai": lambda: open_embedder("openai:small", settings),
            "azure": lambda: open_embedder("azure:small", settings),
        }


@pytest.fixture(scope="module", params=NAMES)
def embedder(
    request: pytest.FixtureRequest, fresh: Mapping[str, Callable[[], Embedder]]
) -> Embedder:
    return fresh[request.param]()


def likeness(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def test_a_vector_is_of_unit_length_and_the_promised_size(embedder: Embedder) -> None:
    for vector in embedder.embed(["one", "a few words more", "", "   ", "漢字 🏭"]):
        assert len(vector) == embedder.dimensions
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]) == []


def test_the_same_text_always_gives_the_same_vector(embedder: Embedder) -> None:
    assert embedder.embed(["orders"]) == embedder.embed(["orders"])


def test_a_batch_changes_neither_order_nor_vectors(embedder: Embedder) -> None:
    texts = [f"service number {i} " + "with many more words " * (i % 7) for i in range(40)]
    alone = [embedder.embed([text])[0] for text in texts]
    for one, other in zip(alone, embedder.embed(texts), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    ["\x00", "\ud800 lone surrogate", "🏭", "a" * 1_000_000, "orders " * 150_000, "[MASK] </s>"],
    ids=["nul", "surrogate", "emoji", "one-long-word", "many-words", "marks-of-models"],
)
def test_hostile_text_gives_a_vector(embedder: Embedder, text: str) -> None:
    (vector,) = embedder.embed([text])
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    assert all(map(math.isfinite, vector))


@pytest.mark.parametrize("name", NAMES)
def test_many_threads_at_once_get_their_own_vectors(
    name: str, fresh: Mapping[str, Callable[[], Embedder]]
) -> None:
    texts = [f"service number {i}" for i in range(8)]
    expected = fresh[name]().embed(texts)
    shared = fresh[name]()
    together = threading.Barrier(4)

    def embed_all(_: int) -> list[tuple[float, ...]]:
        together.wait()
        return shared.embed(texts)

    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(embed_all, range(4)):
            assert vectors == expected


def test_what_shares_words_is_more_alike_than_what_does_not(embedder: Embedder) -> None:
    asked, near, far = embedder.embed(
        ["payment of an order", "the order and its payment", "weather in the mountains"]
    )
    assert likeness(asked, near) > likeness(asked, far)


def test_a_model_and_its_version_can_be_told_apart(embedder: Embedder) -> None:
    model, _, version = model_name(embedder).partition("/")
    assert (model, version) == (embedder.model, embedder.version)
