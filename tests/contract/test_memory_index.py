"""One suite for every memory index: what is put in, taken out, and kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.domain.memory import Collection, Embedded, Kind
from factory_runtime.memory.in_memory import InMemoryMemoryIndex
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import MemoryIndex, RecallQuery
from tests.azurite import Azurite
from tests.contract.memory_rows import AT, HOSTILE, QUERY, Axes, a_row, found

# `make soak` asks all of it of an index in a container, `make test` what storage has a part in.
IN_SOAK = pytest.param("azure", marks=(pytest.mark.service, pytest.mark.soak))
AT_ONCE = pytest.param("azure", marks=pytest.mark.service)
on_azure_too = pytest.mark.parametrize("index", ["in-memory", "lance", AT_ONCE], indirect=True)


@pytest.fixture(params=["in-memory", "lance", IN_SOAK])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryIndex:
    if request.param == "in-memory":
        return InMemoryMemoryIndex(Axes())
    if request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        return LanceMemoryIndex(azurite.place(f"contract/{uuid4()}"), Axes())
    return LanceMemoryIndex(tmp_path / "memory", Axes())


@on_azure_too
def test_a_memory_comes_back_as_it_was(index: MemoryIndex) -> None:
    row = a_row(
        project_id="shop",
        module_id="orders",
        run_id="run-1",
        step="create-docs",
        artifact_id="artifact-1",
        commit="c" * 40,
        path="src/orders/naïve 漢字.py",
        first_line=3,
        last_line=30,
        trace_id="t" * 32,
        correlation_id="c-1",
        template_id="microservice",
        template_version="1.2.0",
        outcome="succeeded",
        classification="confidential",
        changed_at=AT + timedelta(hours=1),
        revision=7,
        text="naïve «текст» 漢字 🏭\n'; DROP TABLE runs; --",
        facts={"nested": {"numbers": [1, 2.5, None, True], "text": "ünïcode"}},
    )
    index.upsert("acme", [row])
    (recalled,) = index.search("acme", RecallQuery("q"), QUERY)
    assert recalled.memory == row.memory


def test_the_index_does_not_say_when_it_was_told(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row(indexed_at=AT)])
    (recalled,) = index.search("acme", RecallQuery("q"), QUERY)
    assert recalled.memory.indexed_at is None


def test_the_same_id_again_replaces(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("m", 0, title="before"), a_row("other", 30)])
    index.upsert("acme", [a_row("m", 80, title="after")])
    assert index.count("acme", Collection.RUNS) == 2
    recalled = index.search("acme", RecallQuery("q"), QUERY)
    assert [(r.memory.id, r.memory.title) for r in recalled] == [
        ("other", "Title of other"),
        ("m", "after"),
    ]


def test_of_one_id_twice_in_a_batch_the_last_stands(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("m", title="first"), a_row("m", title="last")])
    assert index.count("acme", Collection.RUNS) == 1
    (recalled,) = index.search("acme", RecallQuery("q"), QUERY)
    assert recalled.memory.title == "last"


def test_nothing_to_put_in_is_no_error(index: MemoryIndex) -> None:
    index.upsert("acme", [])
    index.forget("acme", [])
    index.forget("acme", ["unknown"])
    assert found(index) == []
    assert index.count("acme", Collection.RUNS) == 0


@on_azure_too
def test_a_tenant_never_sees_anothers(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("m", title="of acme")])
    index.upsert("globex", [a_row("m", tenant_id="globex", title="of globex")])
    (recalled,) = index.search("globex", RecallQuery("q"), QUERY)
    assert (recalled.memory.tenant_id, recalled.memory.title) == ("globex", "of globex")
    index.forget("globex", ["m"])
    assert index.count("globex", Collection.RUNS) == 0
    assert index.count("acme", Collection.RUNS) == 1


@pytest.mark.parametrize(
    "tenant", ["", "..", "../acme", "/etc", "a/b", "A", "a\x00b", "a" * 64, "x' OR '1'='1"]
)
def test_a_tenant_that_is_no_slug_is_refused(index: MemoryIndex, tenant: str) -> None:
    with pytest.raises(InputError):
        index.upsert(tenant, [])
    with pytest.raises(InputError):
        index.search(tenant, RecallQuery("q"), QUERY)
    with pytest.raises(InputError):
        index.forget(tenant, ["m"])
    with pytest.raises(InputError):
        index.replace(tenant, [])
    with pytest.raises(InputError):
        index.optimize(tenant, timedelta(days=1))
    for ask in (index.drop, index.drop_all, index.size, index.commits):
        with pytest.raises(InputError):
            ask(tenant)
    with pytest.raises(InputError):
        index.count(tenant, Collection.RUNS)


def test_a_memory_of_another_tenant_is_refused(index: MemoryIndex) -> None:
    with pytest.raises(PermanentError, match="m-1 is not of the tenant globex"):
        index.upsert("globex", [a_row()])
    assert index.count("globex", Collection.RUNS) == 0


@pytest.mark.parametrize(
    "vector", [(1.0, 0.0), (0.0,) * 64, (math.nan, *QUERY[1:]), (math.inf, *QUERY[1:])]
)
def test_a_row_without_a_vector_of_this_embedder_is_refused_with_all_others(
    index: MemoryIndex, vector: tuple[float, ...]
) -> None:
    rows = [a_row("good"), a_row("bad", vector=vector)]
    with pytest.raises(PermanentError, match="bad"):
        index.upsert("acme", rows)
    with pytest.raises(PermanentError, match="bad"):
        index.replace("acme", rows)
    assert index.count("acme", Collection.RUNS) == 0


@pytest.mark.parametrize("vector", [(), (1.0, 0.0), (0.0,) * 64, (math.nan, *QUERY[1:])])
def test_a_query_that_is_no_vector_of_this_embedder_is_refused(
    index: MemoryIndex, vector: tuple[float, ...]
) -> None:
    index.upsert("acme", [a_row()])
    with pytest.raises(PermanentError, match="query"):
        index.search("acme", RecallQuery("q"), vector)


@on_azure_too
def test_a_forgotten_memory_is_gone_from_every_collection(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("a"),
            a_row("b"),
            a_row("it's", kind=Kind.TEMPLATE),
        ],
    )
    index.forget("acme", ["a", "it's", "never-there"])
    assert found(index) == ["b"]


def test_what_is_put_in_order_is_found_as_before(index: MemoryIndex) -> None:
    for number in range(5):
        index.upsert("acme", [a_row(f"m-{number}", number)])
    index.upsert("acme", [a_row("m-4", 90)])
    index.upsert("umbrella", [a_row(tenant_id="umbrella")])
    before = found(index)
    index.optimize("acme", timedelta(milliseconds=1))
    assert found(index) == before == ["m-0", "m-1", "m-2", "m-3", "m-4"]
    assert found(index, "umbrella") == ["m-1"]
    index.optimize("nobody", timedelta(days=1))
    assert index.tenants() == ("acme", "umbrella")
    index.upsert("acme", [a_row("m-9", 1)])
    assert index.count("acme", Collection.RUNS) == 6


def test_commits_are_counted_from_the_last_time_it_was_put_in_order(index: MemoryIndex) -> None:
    assert index.commits("acme") == 0
    index.upsert("acme", [a_row()])
    index.optimize("acme", timedelta(days=1))
    assert index.commits("acme") == 0
    for number in range(3):
        index.upsert("acme", [a_row(f"m-{number}")])
    assert index.commits("acme") == 3
    index.optimize("acme", timedelta(days=1))
    assert index.commits("acme") == 0


@on_azure_too
def test_made_anew_it_has_these_rows_and_no_others(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("old"), a_row("gone", kind=Kind.CODE), a_row("kept", title="then")])
    index.upsert("umbrella", [a_row("m", tenant_id="umbrella")])

    def rows() -> Iterator[Embedded]:
        assert len(found(index, collections=tuple(Collection))) == 3, "searched meanwhile"
        yield a_row("kept", 1, title="now")
        yield a_row("new", 2, kind=Kind.TEMPLATE)
        assert len(found(index, collections=tuple(Collection))) == 3, "searched meanwhile"

    assert index.replace("acme", rows()) == 2
    assert found(index, collections=tuple(Collection)) == ["kept", "new"]
    assert index.size("acme").rows == {
        Collection.TEMPLATES: 1,
        Collection.RUNS: 1,
        Collection.CODE: 0,
        Collection.DOMAIN: 0,
    }
    assert found(index, text="now", words_weight=1.0) == ["kept"]
    assert found(index, "umbrella") == ["m"]
    assert index.replace("acme", []) == 0
    assert found(index, collections=tuple(Collection)) == []


def test_one_whose_rows_break_off_stays_as_it_was(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("old")])

    def rows() -> Iterator[Embedded]:
        yield a_row("new")
        raise PermanentError("no more")

    with pytest.raises(PermanentError, match="no more"):
        index.replace("acme", rows())
    assert found(index) == ["old"]


@on_azure_too
@pytest.mark.parametrize("drop", ["drop", "drop_all"])
def test_what_is_dropped_is_gone_and_can_begin_anew(index: MemoryIndex, drop: str) -> None:
    getattr(index, drop)("acme")
    index.upsert("acme", [a_row("m"), a_row("t", kind=Kind.TEMPLATE)])
    index.upsert("umbrella", [a_row("m", tenant_id="umbrella")])
    assert found(index) == ["m", "t"]
    getattr(index, drop)("acme")
    assert found(index) == []
    assert index.tenants() == ("umbrella",)
    assert set(index.size("acme").rows.values()) == {0}
    index.upsert("acme", [a_row("new")])
    assert found(index) == ["new"]


def test_an_id_may_be_any_text(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("keep", 1), *(a_row(text, 2) for text in HOSTILE)])
    index.upsert("acme", [a_row(text, 2) for text in HOSTILE])
    assert index.count("acme", Collection.RUNS) == 1 + len(HOSTILE)
    index.forget("acme", HOSTILE)
    assert found(index) == ["keep"]
