"""From an ended run to a memory: the record first, the index second, once in effect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    InvalidInputsError,
    MemoryUnavailableError,
    RunNotFoundError,
    TemplateNotFoundError,
)
from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.domain.run import RunStatus
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.ports import RecallQuery
from factory_runtime.services import topics
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.index_memory import Librarian
from factory_runtime.services.recall import recall
from tests.builders import TENANT, a_message
from tests.small_factory import SmallFactory, fails, steps

ORDERS = """
inputs: {type: object, required: [name], properties: {name: {type: string}}}
steps: [{name: a, type: act}]
"""


class BrokenIndex(InMemoryMemoryIndex):
    def upsert(self, tenant_id: str, memories: Sequence[Memory]) -> None:
        raise MemoryUnavailableError("the index cannot be reached")


class Library:
    """The memory of a small factory, with parts that a test may break."""

    def __init__(self, factory: SmallFactory) -> None:
        self.factory = factory
        self.embedder = WordsEmbedder()
        self.good = InMemoryMemoryIndex(self.embedder)
        self.index: InMemoryMemoryIndex = self.good
        self.librarian = Librarian(
            factory.store, factory.storage, factory.clock, lambda: self.embedder, lambda: self.index
        )

    def drain(self) -> Drained:
        handlers = self.librarian.handlers
        return drain_outbox(self.factory.store, self.factory.clock, handlers, "here:1")

    def records(self, collection: Collection = Collection.RUNS) -> tuple[Memory, ...]:
        with self.factory.store.begin(TENANT, read_only=True) as tx:
            return tx.list_memories(collection=collection)

    def found(self, text: str, tenant: str = TENANT) -> list[str | None]:
        query = RecallQuery(text, collections=(Collection.RUNS,))
        return [hit.memory.run_id for hit in recall(self.good, self.embedder, tenant, query)]


@pytest.fixture
def library(factory: SmallFactory) -> Library:
    return Library(factory)


def test_an_ended_run_and_its_template_are_remembered_and_found(
    factory: SmallFactory, library: Library
):
    run = factory.complete(ORDERS, {"name": "orders"})
    assert library.drain() == Drained(done=2)
    (memory,) = library.records()
    assert (memory.run_id, memory.outcome, memory.project_id) == (run.id, "succeeded", "shop")
    assert memory.embedding_model == "words"
    assert memory.vector is not None
    (template,) = library.records(Collection.TEMPLATES)
    assert (template.template_id, template.template_version) == ("demo", "1.0.0")
    assert library.found("orders") == [run.id]


def test_a_failed_run_is_remembered_with_its_reason(factory: SmallFactory, library: Library):
    factory.on["a"] = fails(ValueError("the tarpit is full"))
    run = factory.complete(ORDERS, {"name": "orders"})
    library.drain()
    (memory,) = library.records()
    assert (memory.run_id, memory.outcome) == (run.id, "failed")
    assert "the tarpit is full" in memory.text


def test_a_run_cancelled_before_it_began_is_remembered(factory: SmallFactory, library: Library):
    factory.template(ORDERS)
    run = factory.request(inputs={"name": "orders"})
    factory.admit(run)
    assert cancel_run(factory.store, factory.clock, TENANT, run.id, "ada").ended
    library.drain()
    (memory,) = library.records()
    assert memory.outcome == "cancelled"


def test_while_the_index_is_down_the_record_stands_and_the_message_waits(
    factory: SmallFactory, library: Library
):
    library.index = BrokenIndex(library.embedder)
    run = factory.complete(ORDERS, {"name": "orders"})
    assert run.status is RunStatus.SUCCEEDED
    assert library.drain() == Drained(failed=2)
    assert [memory.run_id for memory in library.records()] == [run.id]
    assert library.good.count(TENANT, Collection.RUNS) == 0
    library.index = library.good
    factory.clock.pass_time(timedelta(seconds=2))
    assert library.drain() == Drained(done=2)
    assert library.found("orders") == [run.id]


def test_while_the_model_cannot_be_used_the_record_stands_without_a_vector(
    factory: SmallFactory, library: Library, monkeypatch: pytest.MonkeyPatch
):
    def unusable(_texts: Sequence[str]) -> Any:
        raise MemoryUnavailableError("the model is not installed")

    factory.complete(ORDERS, {"name": "orders"})
    with monkeypatch.context() as patch:
        patch.setattr(library.embedder, "embed", unusable)
        assert library.drain() == Drained(failed=2)
    (memory,) = library.records()
    assert memory.vector is None
    factory.clock.pass_time(timedelta(seconds=2))
    assert library.drain() == Drained(done=2)
    assert library.records()[0].vector is not None


def test_a_run_indexed_twice_is_one_memory(factory: SmallFactory, library: Library):
    run = factory.complete(ORDERS, {"name": "orders"})
    (message,) = factory.messages(topics.MEMORY_OF_RUN)
    for _ in range(2):
        library.librarian.index_run(message)
        factory.clock.pass_time()
    assert len(library.records()) == 1
    assert library.good.count(TENANT, Collection.RUNS) == 1
    assert library.found("orders") == [run.id]


def test_a_memory_is_its_tenants_alone(factory: SmallFactory, library: Library):
    run = factory.complete(ORDERS, {"name": "orders"})
    library.drain()
    assert library.found("orders", "other") == []
    with pytest.raises(RunNotFoundError):
        library.librarian.index_run(a_message(payload={"run_id": run.id}, tenant_id="other"))


def test_large_inputs_are_read_from_where_they_lie(factory: SmallFactory, library: Library):
    factory.complete(ORDERS, {"name": "orders " + "x" * 20_000})
    assert library.drain() == Drained(done=2)
    assert "orders" in library.records()[0].text


def test_a_template_that_is_not_in_the_store_is_not_remembered(library: Library):
    message = a_message(payload={"template_id": "none", "version": "1"})
    with pytest.raises(TemplateNotFoundError, match="none"):
        library.librarian.index_template(message)
    assert library.records(Collection.TEMPLATES) == ()


def test_a_refused_request_leaves_nothing_to_remember(factory: SmallFactory, library: Library):
    factory.template(steps("a:"))
    with pytest.raises(InvalidInputsError):
        factory.request(inputs={"unknown": 1})
    assert library.drain() == Drained()
