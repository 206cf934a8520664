"""One suite for every memory index."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.memory.in_memory import InMemoryMemoryIndex
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import MemoryIndex, RecallQuery

AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


class Plane:
    """An embedder of three dimensions; its vectors are given by hand."""

    def __init__(self, model: str = "plane", version: str = "1") -> None:
        self.model = model
        self.version = version
        self.dimensions = 3

    def embed(self, texts: Any) -> list[tuple[float, ...]]:
        return [(1.0, 0.0, 0.0) for _ in texts]


def at_angle(degrees: float) -> tuple[float, ...]:
    turn = math.radians(degrees)
    return (math.cos(turn), math.sin(turn), 0.0)


def a_memory(id_: str = "m-1", degrees: float = 0, **changes: Any) -> Memory:
    memory = Memory(
        id=id_,
        tenant_id="acme",
        collection=Collection.RUNS,
        title=f"Title of {id_}",
        text="what was learned",
        created_at=AT,
        embedding_model="plane",
        embedding_version="1",
        vector=at_angle(degrees),
    )
    return replace(memory, **changes)


@pytest.fixture(params=["in-memory", "lance"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryIndex:
    if request.param == "in-memory":
        return InMemoryMemoryIndex(Plane())
    return LanceMemoryIndex(tmp_path / "memory", Plane())


def found(index: MemoryIndex, tenant: str = "acme", **query: Any) -> list[str]:
    recalled = index.search(tenant, RecallQuery("q", **query), at_angle(0))
    return [r.memory.id for r in recalled]


def test_the_most_alike_come_first_with_their_cosine(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("far", 90), a_memory("same", 0), a_memory("near", 60)])
    recalled = index.search("acme", RecallQuery("q"), at_angle(0))
    assert [r.memory.id for r in recalled] == ["same", "near", "far"]
    assert [r.score for r in recalled] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)


def test_the_opposite_scores_below_zero(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("opposite", 180)])
    (recalled,) = index.search("acme", RecallQuery("q"), at_angle(0))
    assert recalled.score == pytest.approx(-1.0, abs=1e-6)


def test_the_length_of_a_vector_does_not_matter(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("long", vector=(7.0, 0.0, 0.0))])
    (recalled,) = index.search("acme", RecallQuery("q"), (0.1, 0.0, 0.0))
    assert recalled.score == pytest.approx(1.0, abs=1e-6)


def test_a_memory_comes_back_as_it_was_but_for_its_vector(index: MemoryIndex) -> None:
    memory = a_memory(
        project_id="shop",
        module_id="orders",
        run_id="run-1",
        step="create-docs",
        trace_id="t" * 32,
        correlation_id="c-1",
        template_id="microservice",
        template_version="1.2.0",
        outcome="succeeded",
        classification="confidential",
        text="naïve «текст» 漢字 🏭\n'; DROP TABLE runs; --",
        facts={"nested": {"numbers": [1, 2.5, None, True], "text": "ünïcode"}},
    )
    index.upsert("acme", [memory])
    (recalled,) = index.search("acme", RecallQuery("q"), at_angle(0))
    assert recalled.memory == replace(memory, vector=None)


def test_the_same_id_again_replaces(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("m", 0, title="before"), a_memory("other", 30)])
    index.upsert("acme", [a_memory("m", 80, title="after")])
    assert index.count("acme", Collection.RUNS) == 2
    recalled = index.search("acme", RecallQuery("q"), at_angle(80))
    assert [(r.memory.id, r.memory.title) for r in recalled] == [
        ("m", "after"),
        ("other", "Title of other"),
    ]


def test_of_one_id_twice_in_a_batch_the_last_stands(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("m", title="first"), a_memory("m", title="last")])
    assert index.count("acme", Collection.RUNS) == 1
    (recalled,) = index.search("acme", RecallQuery("q"), at_angle(0))
    assert recalled.memory.title == "last"


def test_nothing_to_put_in_is_no_error(index: MemoryIndex) -> None:
    index.upsert("acme", [])
    index.forget("acme", [])
    index.forget("acme", ["unknown"])
    assert found(index) == []
    assert index.count("acme", Collection.RUNS) == 0


def test_a_tenant_never_sees_anothers(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("m", title="of acme")])
    index.upsert("globex", [a_memory("m", tenant_id="globex", title="of globex")])
    (recalled,) = index.search("globex", RecallQuery("q"), at_angle(0))
    assert (recalled.memory.tenant_id, recalled.memory.title) == ("globex", "of globex")
    index.forget("globex", ["m"])
    assert index.count("globex", Collection.RUNS) == 0
    assert index.count("acme", Collection.RUNS) == 1


@pytest.mark.parametrize("tenant", ["", "..", "../acme", "/etc", "a/b", "A", "a\x00b", "a" * 64])
def test_a_tenant_that_is_no_slug_is_refused(index: MemoryIndex, tenant: str) -> None:
    with pytest.raises(InputError):
        index.upsert(tenant, [])
    with pytest.raises(InputError):
        index.search(tenant, RecallQuery("q"), at_angle(0))
    with pytest.raises(InputError):
        index.forget(tenant, ["m"])
    with pytest.raises(InputError):
        index.count(tenant, Collection.RUNS)


def test_a_memory_of_another_tenant_is_refused(index: MemoryIndex) -> None:
    with pytest.raises(PermanentError, match="m-1 is not of the tenant globex"):
        index.upsert("globex", [a_memory()])
    assert index.count("globex", Collection.RUNS) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"vector": None},
        {"embedding_model": None},
        {"embedding_model": "other"},
        {"embedding_version": "2"},
        {"vector": (1.0, 0.0)},
        {"vector": (0.0, 0.0, 0.0)},
        {"vector": (math.nan, 0.0, 0.0)},
        {"vector": (math.inf, 0.0, 0.0)},
    ],
)
def test_a_memory_without_a_vector_of_this_embedder_is_refused_whole(
    index: MemoryIndex, changes: dict[str, Any]
) -> None:
    with pytest.raises(PermanentError, match="bad"):
        index.upsert("acme", [a_memory("good"), a_memory("bad", **changes)])
    assert index.count("acme", Collection.RUNS) == 0


@pytest.mark.parametrize("vector", [(), (1.0, 0.0), (0.0, 0.0, 0.0), (math.nan, 1.0, 1.0)])
def test_a_query_that_is_no_vector_of_this_embedder_is_refused(
    index: MemoryIndex, vector: tuple[float, ...]
) -> None:
    index.upsert("acme", [a_memory()])
    with pytest.raises(PermanentError, match="query"):
        index.search("acme", RecallQuery("q"), vector)


def test_collections_are_searched_together_and_only_those_asked_for(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_memory("run-far", 50),
            a_memory("template", 10, collection=Collection.TEMPLATES),
            a_memory("run-near", 5),
            a_memory("code", 0, collection=Collection.CODE),
        ],
    )
    assert found(index) == ["run-near", "template", "run-far"]
    assert found(index, collections=(Collection.CODE,)) == ["code"]
    assert found(index, collections=tuple(Collection)) == [
        "code",
        "run-near",
        "template",
        "run-far",
    ]
    assert found(index, collections=(Collection.CODE, Collection.CODE)) == ["code"]
    assert found(index, collections=()) == []
    assert index.count("acme", Collection.RUNS) == 2


def test_the_limit_holds_over_all_collections(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory(f"r{i}", i) for i in range(6)])
    index.upsert(
        "acme", [a_memory(f"t{i}", i + 0.5, collection=Collection.TEMPLATES) for i in range(6)]
    )
    assert found(index, limit=4) == ["r0", "t0", "r1", "t1"]


def test_a_filter_is_applied_before_the_limit(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory(f"x{i}", i, outcome="failed") for i in range(20)])
    index.upsert("acme", [a_memory("wanted", 89, outcome="succeeded")])
    assert found(index, outcome="succeeded", limit=1) == ["wanted"]


def test_a_project_sees_its_own_and_what_belongs_to_none(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_memory("mine", 1, project_id="shop"),
            a_memory("other", 2, project_id="bank"),
            a_memory("template", 3, collection=Collection.TEMPLATES),
        ],
    )
    assert found(index, project_id="shop") == ["mine", "template"]
    assert found(index) == ["mine", "other", "template"]
    assert found(index, projects=("bank",)) == ["other", "template"]
    assert found(index, projects=("bank",), project_id="shop") == ["template"]
    assert found(index, projects=()) == ["template"]


def test_only_the_outcome_asked_for_is_found(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [a_memory("good", 1, outcome="succeeded"), a_memory("bad", 2, outcome="failed")],
    )
    index.upsert("acme", [a_memory("unknown", 3)])
    assert found(index, outcome="failed") == ["bad"]


def test_excluded_runs_are_left_out_and_what_has_no_run_stays(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_memory("one", 1, run_id="run-1"),
            a_memory("two", 2, run_id="run-2"),
            a_memory("template", 3, collection=Collection.TEMPLATES),
        ],
    )
    assert found(index, exclude_run_ids=("run-1",)) == ["two", "template"]
    assert found(index, exclude_run_ids=("run-1", "run-2", "run-3")) == ["template"]


def test_a_superseded_memory_is_hidden_but_kept(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("old", 0, superseded_by="new"), a_memory("new", 20)])
    assert found(index) == ["new"]
    assert index.count("acme", Collection.RUNS) == 2


def test_a_forgotten_memory_is_gone_from_every_collection(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_memory("a"),
            a_memory("b"),
            a_memory("it's", collection=Collection.TEMPLATES),
        ],
    )
    index.forget("acme", ["a", "it's", "never-there"])
    assert found(index) == ["b"]


HOSTILE = ["' OR '1'='1", "x'); --", '"', "\\", "\\'", "%", "null", "", "naïve 漢字"]


def test_what_is_put_in_order_is_found_as_before(index: MemoryIndex) -> None:
    for number in range(5):
        index.upsert("acme", [a_memory(f"m-{number}", number)])
    index.upsert("acme", [a_memory("m-4", 90)])
    index.upsert("umbrella", [a_memory(tenant_id="umbrella")])
    before = found(index)
    index.optimize("acme", timedelta(milliseconds=1))
    assert found(index) == before == ["m-0", "m-1", "m-2", "m-3", "m-4"]
    assert found(index, "umbrella") == ["m-1"]
    index.optimize("nobody", timedelta(days=1))
    assert index.tenants() == ("acme", "umbrella")
    index.upsert("acme", [a_memory("m-9", 1)])
    assert index.count("acme", Collection.RUNS) == 6


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_filter_is_only_ever_compared(index: MemoryIndex, text: str) -> None:
    index.upsert(
        "acme",
        [
            a_memory("plain", 1, project_id="shop", outcome="failed", run_id="run-1"),
            a_memory("odd", 2, project_id="odd" + text, outcome="odd" + text, run_id="odd" + text),
        ],
    )
    odd = "odd" + text
    assert found(index, outcome=text) == []
    assert found(index, outcome=odd) == ["odd"]
    assert found(index, project_id=odd) == ["odd"]
    assert found(index, exclude_run_ids=(text, odd)) == ["plain"]
    index.forget("acme", [text])
    assert found(index) == ["plain", "odd"]


def test_an_id_may_be_any_text(index: MemoryIndex) -> None:
    index.upsert("acme", [a_memory("keep", 1), *(a_memory(text, 2) for text in HOSTILE)])
    index.upsert("acme", [a_memory(text, 2) for text in HOSTILE])
    assert index.count("acme", Collection.RUNS) == 1 + len(HOSTILE)
    index.forget("acme", HOSTILE)
    assert found(index) == ["keep"]
