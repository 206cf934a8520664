"""An endpoint that misbehaves is told of as such, costs a bounded time, and shows no key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    MemoryUnavailableError,
    PermanentError,
    SettingsError,
)
from factory_runtime.memory.embedders.endpoint import (
    ANSWER_BYTES,
    MAX_CHARACTERS,
    SHORT,
    EndpointEmbedder,
)
from factory_runtime.memory.endpoints import calling
from factory_runtime.memory.endpoints.calling import EMBEDDINGS, Caller, Endpoint
from tests.embedding_server import (
    KEY,
    NATURAL,
    Answer,
    EmbeddingServer,
    breaks_off,
    embedding_server,
    hangs_up,
    says,
)

ALWAYS = 10
"""More than there are tries."""


@pytest.fixture
def server() -> Generator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def embedder(server: EmbeddingServer, slept: list[float]) -> EndpointEmbedder:
    return an_embedder(server, slept)


def an_embedder(
    server: EmbeddingServer,
    slept: list[float],
    dimensions: int = NATURAL,
    answer_bytes: int = ANSWER_BYTES,
    **how: Any,
) -> EndpointEmbedder:
    at = Endpoint(f"{server.url}/embeddings", EMBEDDINGS, key=KEY)
    caller = Caller(at, answer_bytes, slept.append)
    given: dict[str, Any] = {"named": "small", "says_length": False, **how}
    return EndpointEmbedder(caller, "openai:small", dimensions, **given)


def asked_texts(server: EmbeddingServer) -> list[list[str]]:
    return [asked.body["input"] for asked in server.asked]


def shown(error: FactoryError) -> str:
    """Everything of an error that anybody may see, its causes too."""
    seen: list[str] = []
    one: BaseException | None = error
    while one is not None:
        seen.append(repr(one) + str(getattr(one, "hint", "")))
        one = one.__cause__ or one.__context__
    return " ".join(seen)


def test_texts_go_in_batches_over_one_connection(
    server: EmbeddingServer, slept: list[float]
) -> None:
    texts = [f"text {number}" for number in range(10)]
    assert len(an_embedder(server, slept, batch=4).embed(texts)) == 10
    assert [len(texts) for texts in asked_texts(server)] == [4, 4, 2]
    assert server.connections == 1


def test_a_batch_ends_where_its_characters_do(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    embedder.embed(["x" * MAX_CHARACTERS] * 10)
    assert [len(texts) for texts in asked_texts(server)] == [8, 2]


def test_vectors_follow_their_index_not_their_place(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    texts = ["one", "two", "three"]
    in_order = embedder.embed(texts)
    server.twist = lambda data: data[::-1]
    assert embedder.embed(texts) == in_order


def test_a_huge_text_is_cut_and_no_text_is_sent_empty(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    embedder.embed(["x" * 1_000_000, "", " \n\t"])
    assert asked_texts(server) == [["x" * MAX_CHARACTERS, " ", " "]]


def test_a_batch_that_is_too_much_is_halved(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    texts = [str(number) * 100 for number in range(8)]
    whole = embedder.embed(texts)
    server.characters = 250
    assert embedder.embed(texts) == whole
    assert [len(asked) for asked in asked_texts(server)[1:]] == [8, 4, 2, 2, 4, 2, 2]


def test_a_text_that_is_too_long_alone_is_read_as_far_as_it_may_be(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    server.characters = 3000
    long = "word " * 2000
    assert embedder.embed([long]) == embedder.embed([long[:2500]])


def test_a_short_text_that_is_refused_is_so_for_good(
    server: EmbeddingServer, embedder: EndpointEmbedder
) -> None:
    server.characters = SHORT // 4
    with pytest.raises(PermanentError, match="maximum context length"):
        embedder.embed(["x" * 10_000])
    assert len(server.asked) < 10


def test_an_endpoint_that_asks_for_time_gets_it(
    server: EmbeddingServer, embedder: EndpointEmbedder, slept: list[float]
) -> None:
    server.next(says(429, "{}", retry_after="3"), says(503, "busy"), hangs_up)
    assert len(embedder.embed(["x"])) == 1
    assert len(server.asked) == 4
    assert slept == [3.0, 2.0, 5.0]


def test_one_that_asks_for_more_time_than_anybody_has_is_not_waited_for(
    server: EmbeddingServer, embedder: EndpointEmbedder, slept: list[float]
) -> None:
    server.next(says(429, "{}", retry_after="600"))
    with pytest.raises(MemoryUnavailableError) as caught:
        embedder.embed(["x"])
    assert caught.value.retry_after == timedelta(minutes=10)
    assert (len(server.asked), slept) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        says(429, "{}"),
        says(500, "{}"),
        says(503, "<html>", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        says(529, "", retry_after="-1"),
        hangs_up,
        breaks_off,
    ],
    ids=["throttles", "fails", "is-down", "is-overloaded", "hangs-up", "breaks-off"],
)
def test_one_that_never_has_time_is_given_up(
    server: EmbeddingServer, embedder: EndpointEmbedder, slept: list[float], answer: Answer
) -> None:
    server.next(*[answer] * ALWAYS)
    with pytest.raises(MemoryUnavailableError) as caught:
        embedder.embed(["x"])
    assert len(server.asked) == 4
    assert sum(slept) < 20
    assert KEY not in shown(caught.value)


def test_why_one_has_no_time_is_told(server: EmbeddingServer, embedder: EndpointEmbedder) -> None:
    server.next(*[says(429, '{"error": {"message": "You exceeded your quota"}}')] * ALWAYS)
    with pytest.raises(MemoryUnavailableError, match="429: You exceeded your quota"):
        embedder.embed(["x"])


def test_nobody_there_is_memory_that_is_away(slept: list[float]) -> None:
    with embedding_server() as gone:
        pass
    with pytest.raises(MemoryUnavailableError, match="does not answer"):
        an_embedder(gone, slept).embed(["x"])


@pytest.mark.parametrize(
    ("answer", "says_so"),
    [
        (says(401, '{"error": {"message": "Incorrect API key provided"}}'), "EMBEDDING_KEY"),
        (says(403, "<html>no</html>", content_type="text/html"), "EMBEDDING_KEY"),
        (says(404, '{"error": {"message": "no model small"}}'), "FACTORY_EMBEDDER"),
        (says(302, "", location="http://127.0.0.1:1/"), "EMBEDDING_URL"),
        (says(200, "<html>Sign in</html>", content_type="text/html"), "EMBEDDING_URL"),
        (says(200, ""), "EMBEDDING_URL"),
        (says(200, '{"data": null}'), "EMBEDDING_URL"),
        (says(418, '{"error": "a word"}'), "EMBEDDING_URL"),
    ],
)
def test_a_wrong_setting_is_named_and_asked_once(
    server: EmbeddingServer, embedder: EndpointEmbedder, answer: Answer, says_so: str
) -> None:
    server.next(answer)
    with pytest.raises(MemoryUnavailableError, match=r"127\.0\.0\.1|small") as caught:
        embedder.embed(["x"])
    assert says_so in str(caught.value.hint)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
def test_an_endpoint_that_repeats_the_key_does_not_show_it(
    server: EmbeddingServer, embedder: EndpointEmbedder, status: int
) -> None:
    problem = json.dumps({"error": {"message": f"with Bearer {KEY}\nthe text\x1b[2J is refused"}})
    server.next(*[says(status, problem)] * ALWAYS)
    with pytest.raises((MemoryUnavailableError, PermanentError), match=r"\*\*\*") as caught:
        embedder.embed(["x"])
    assert KEY not in shown(caught.value)
    assert re.search(r"[\x00-\x1f]", str(caught.value)) is None


def a_twist(change: Callable[[list[dict[str, Any]]], object]) -> Any:
    def twist(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        change(data)
        return data

    return twist


@pytest.mark.parametrize(
    "twist",
    [
        a_twist(lambda data: data.pop()),
        a_twist(lambda data: data.append(data[0])),
        a_twist(lambda data: data[0].update(index=1)),
        a_twist(lambda data: data[0].update(index="0")),
        a_twist(lambda data: data[0].pop("index")),
        a_twist(lambda data: data[0]["embedding"].pop()),
        a_twist(lambda data: data[0].update(embedding=[float("nan")] * NATURAL)),
        a_twist(lambda data: data[0].update(embedding=[float("inf")] * NATURAL)),
        a_twist(lambda data: data[0].update(embedding=[1e308] * NATURAL)),
        a_twist(lambda data: data[0].update(embedding=[0.0] * NATURAL)),
        a_twist(lambda data: data[0].update(embedding=[None] * NATURAL)),
        a_twist(lambda data: data[0].update(embedding="AAAA")),
    ],
    ids=[
        *["too-few", "too-many", "one-twice", "index-is-text", "no-index", "too-short", "nan"],
        *["infinite", "endless", "zero", "nothing", "base64"],
    ],
)
def test_what_is_no_answer_makes_no_vector(
    server: EmbeddingServer, embedder: EndpointEmbedder, twist: Any
) -> None:
    server.twist = twist
    with pytest.raises(MemoryUnavailableError):
        embedder.embed(["one", "two"])


def test_an_answer_without_end_is_not_read_to_its_end(
    server: EmbeddingServer, slept: list[float]
) -> None:
    with pytest.raises(MemoryUnavailableError, match="more than is asked for"):
        an_embedder(server, slept, answer_bytes=1000).embed(["x"] * 10)


def test_an_answer_that_trickles_is_not_waited_for(
    server: EmbeddingServer, embedder: EndpointEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "_ANSWER_SECONDS", -1.0)
    with pytest.raises(MemoryUnavailableError, match="takes longer"):
        embedder.embed(["x"])
    assert len(server.asked) == 4


def test_a_model_is_asked_for_shorter_vectors(server: EmbeddingServer, slept: list[float]) -> None:
    embedder = an_embedder(server, slept, 16, says_length=True)
    assert len(embedder.embed(["x"])[0]) == 16
    assert server.asked[0].body == {"input": ["x"], "model": "small", "dimensions": 16}


def test_a_model_that_cannot_shorten_is_not_asked_again(
    server: EmbeddingServer, slept: list[float]
) -> None:
    server.shortens = False
    embedder = an_embedder(server, slept, says_length=True)
    assert embedder.embed(["x"]) == embedder.embed(["x"])
    assert ["dimensions" in asked.body for asked in server.asked] == [True, False, False]


def test_a_model_whose_vectors_stay_too_long_is_told_of(
    server: EmbeddingServer, slept: list[float]
) -> None:
    server.shortens = False
    with pytest.raises(MemoryUnavailableError, match="64 dimensions instead of 16") as caught:
        an_embedder(server, slept, 16, says_length=True).embed(["x"])
    assert "FACTORY_EMBEDDING_DIMENSIONS" in str(caught.value.hint)


def test_a_batch_that_is_too_much_is_not_taken_for_a_length_that_is_not_had(
    server: EmbeddingServer, slept: list[float]
) -> None:
    server.characters = 5
    embedder = an_embedder(server, slept, 16, says_length=True)
    assert {len(vector) for vector in embedder.embed(["aaa", "bbb", "ccc"])} == {16}


def test_texts_go_past_the_environments_proxy_where_it_could_read_them(
    server: EmbeddingServer, embedder: EndpointEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(embedder.embed(["x"])) == 1


def test_a_forked_process_opens_a_connection_of_its_own(server: EmbeddingServer) -> None:
    script = """
import os, sys
from factory_runtime.memory.embedders.endpoint import ANSWER_BYTES, EndpointEmbedder
from factory_runtime.memory.endpoints.calling import EMBEDDINGS, Caller, Endpoint

caller = Caller(Endpoint(sys.argv[1], EMBEDDINGS, key=sys.argv[2]), ANSWER_BYTES)
embedder = EndpointEmbedder(caller, "openai:small", 64, named="small", says_length=False)
expected = embedder.embed(["x"])
child = os.fork()
if child == 0:
    os._exit(embedder.embed(["x"]) != expected)
_, failed = os.waitpid(child, 0)
sys.exit(failed or embedder.embed(["x"]) != expected)
"""
    command = [sys.executable, "-c", script, f"{server.url}/embeddings", KEY]
    assert subprocess.run(command, check=False).returncode == 0
    assert server.connections == 2


@pytest.mark.parametrize(
    "url",
    [
        *["", "api.openai.com/v1", "ftp://host/v1", "https://", "https://me:secret@host/v1"],
        *["http://models.internal/v1", "http://10.0.0.7:8080/v1", "http://127.0.0.1.evil.com/v1"],
        "https://[::1",
    ],
)
def test_an_address_that_would_not_be_safe_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Endpoint(url, EMBEDDINGS, key=KEY)
    assert "secret" not in shown(caught.value)
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("url", ["https://host/v1", "http://localhost/v1", "http://[::1]:80/v1"])
def test_tls_and_this_machine_are_safe(url: str) -> None:
    assert KEY not in repr(Endpoint(url, EMBEDDINGS, key=KEY))


def test_an_operator_may_say_that_a_network_is_safe() -> None:
    endpoint = Endpoint("http://models.internal/v1", EMBEDDINGS, plain_http=True)
    assert endpoint.host == "models.internal"


@pytest.mark.parametrize("key", ["with\nline", "schlüssel"])
def test_a_key_that_no_header_takes_is_refused_before_it_is_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="FACTORY_EMBEDDING_KEY") as caught:
        Endpoint("https://host/v1", EMBEDDINGS, key=key)
    assert key not in shown(caught.value)
