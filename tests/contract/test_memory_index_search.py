"""One suite for every memory index: what a search finds, and in which order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from factory_runtime.domain.conditions import (
    AllOf,
    AnyOf,
    Compare,
    Comparison,
    Condition,
    IsEmpty,
    Not,
    OneOf,
    matches,
)
from factory_runtime.domain.memory import Collection, Kind
from factory_runtime.domain.ranking import SUPERSEDED_FACTOR
from factory_runtime.memory.in_memory import InMemoryMemoryIndex
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import MemoryIndex, RecallQuery
from tests.azurite import Azurite
from tests.contract.memory_rows import AT, HOSTILE, QUERY, Axes, a_row, found, towards

# What a search finds on other storage is found by the same code: `make soak` shows it.
AZURE = pytest.param("azure", marks=(pytest.mark.service, pytest.mark.soak))


@pytest.fixture(params=["in-memory", "lance", AZURE])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryIndex:
    if request.param == "in-memory":
        return InMemoryMemoryIndex(Axes())
    if request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        return LanceMemoryIndex(azurite.place(f"contract/{uuid4()}"), Axes())
    return LanceMemoryIndex(tmp_path / "memory", Axes())


def test_the_most_alike_come_first_with_their_cosine(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("far", vector=towards(1, 90)),
            a_row("same", vector=towards(2, 0)),
            a_row("near", vector=towards(3, 60)),
            a_row("opposite", vector=towards(4, 180)),
        ],
    )
    recalled = index.search("acme", RecallQuery("q", words_weight=0.0), QUERY)
    assert [r.memory.id for r in recalled] == ["same", "near", "far", "opposite"]
    assert [r.likeness for r in recalled] == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=1e-6)
    assert [r.score for r in recalled] == [r.likeness for r in recalled]


def test_the_length_of_a_vector_does_not_matter(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("long", vector=tuple(7 * part for part in towards(1, 60)))])
    short = tuple(0.1 * part for part in QUERY)
    (recalled,) = index.search("acme", RecallQuery("🏭"), short)
    assert recalled.likeness == pytest.approx(0.5, abs=1e-6)


def test_collections_are_searched_together_and_only_those_asked_for(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("run-far", 50),
            a_row("template", 10, kind=Kind.TEMPLATE),
            a_row("run-near", 5),
            a_row("code", 0, kind=Kind.CODE),
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
    index.upsert("acme", [a_row(f"r{i}", i) for i in range(6)])
    index.upsert("acme", [a_row(f"t{i}", i + 0.5, kind=Kind.TEMPLATE) for i in range(6)])
    assert found(index, limit=4) == ["r0", "t0", "r1", "t1"]


def test_a_filter_is_applied_before_the_limit(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row(f"x{i}", i, outcome="failed") for i in range(20)])
    index.upsert("acme", [a_row("wanted", 89, outcome="succeeded")])
    assert found(index, outcome="succeeded", limit=1) == ["wanted"]


def test_a_project_sees_its_own_and_what_belongs_to_none(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("mine", 1, project_id="shop"),
            a_row("other", 2, project_id="bank"),
            a_row("template", 3, kind=Kind.TEMPLATE),
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
        [a_row("good", 1, outcome="succeeded"), a_row("bad", 2, outcome="failed")],
    )
    index.upsert("acme", [a_row("unknown", 3)])
    assert found(index, outcome="failed") == ["bad"]


def test_excluded_runs_are_left_out_and_what_has_no_run_stays(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("one", 1, run_id="run-1"),
            a_row("two", 2, run_id="run-2"),
            a_row("template", 3, kind=Kind.TEMPLATE),
        ],
    )
    assert found(index, exclude_run_ids=("run-1",)) == ["two", "template"]
    assert found(index, exclude_run_ids=("run-1", "run-2", "run-3")) == ["template"]


def test_text_in_a_filter_is_only_ever_compared(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("plain", 0, project_id="shop", outcome="failed", run_id="run-1"),
            *(
                a_row(text, 1 + place, project_id=text, outcome=text, run_id=text)
                for place, text in enumerate(HOSTILE)
            ),
        ],
    )
    everything = ["plain", *HOSTILE]
    for text in HOSTILE:
        assert found(index, outcome=text) == [text]
        assert found(index, outcome="odd" + text) == []
        assert found(index, project_id=text) == [text]
        left = [id_ for id_ in everything if id_ != text]
        assert found(index, exclude_run_ids=(text, "odd" + text), limit=20) == left
    index.forget("acme", ["odd" + text for text in HOSTILE])
    assert found(index, limit=20) == everything


IDENTIFIERS = {
    "camel": "the call to createInvoice timed out",
    "snake": "refresh_token_store is empty after a restart",
    "code": "stops with INV-2001 where no counter is",
    "path": "cut from src/billing/ledger.py at the border",
    "version": "works since microservice 1.3.0",
    "plain": "nothing of the kind stands here",
}


SPELLINGS = [
    ("create_invoice", "camel"),
    ("CREATEINVOICE", "camel"),
    ("why does the invoice call time out", "camel"),
    ("RefreshTokenStore", "snake"),
    ("inv2001", "code"),
    ("what is INV 2001?", "code"),
    ("ledger.py", "path"),
    ("src/billing/ledger.py", "path"),
    ("1.3.0", "version"),
]


def test_an_identifier_is_found_however_it_is_spelled(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row(id_, title=id_, text=known) for id_, known in IDENTIFIERS.items()])
    for text, wanted in SPELLINGS:
        assert found(index, text=text, words_weight=1.0)[0] == wanted, text


def test_words_alone_find_only_what_has_one_of_them(index: MemoryIndex) -> None:
    told = a_row("told", vector=towards(1, 80), text="a canary sang in the mine")
    index.upsert("acme", [a_row("near", vector=towards(2, 70)), told])
    recalled = index.search("acme", RecallQuery("canary song", words_weight=1.0), QUERY)
    assert [r.memory.id for r in recalled] == ["told"]
    assert 0 < recalled[0].words < 0.5, "one of two words, and few memories to be rare among"
    assert recalled[0].score == recalled[0].words
    assert found(index, text="canary song", words_weight=0.0) == ["near", "told"]
    assert found(index, text="canary song", words_weight=0.9) == ["told", "near"]


def test_what_only_words_find_has_its_likeness_too(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row(f"m-{number}", number / 10) for number in range(60)])
    index.upsert("acme", [a_row("told", vector=towards(1, 89), text="a canary sang")])
    recalled = index.search("acme", RecallQuery("canary", words_weight=0.9), QUERY)
    assert recalled[0].memory.id == "told"
    assert recalled[0].likeness == pytest.approx(0.01745, abs=1e-4)
    assert recalled[0].score == pytest.approx(0.9 * recalled[0].words + 0.1 * recalled[0].likeness)


def test_rows_put_in_at_different_times_are_found_by_their_words(index: MemoryIndex) -> None:
    index.upsert("acme", [a_row("first", 3, text="a canary sang in the mine")])
    index.optimize("acme", timedelta(days=1))
    index.upsert("acme", [a_row("second", 2, text="the canary is silent")])
    index.upsert("acme", [a_row("first", 3, text="it was a finch, as it turned out")])
    index.upsert("acme", [a_row("third", 1, kind=Kind.CODE, text="def canary(): ...")])
    everywhere = tuple(Collection)
    assert set(found(index, text="canary", words_weight=1.0, collections=everywhere)) == {
        "second",
        "third",
    }


ODD_TEXTS = [
    *("🏭", "?!", "漢字", '"', "a AND (b OR", "x:y^2~*", "\x00"),
    *("a" * 100_000, "word " * 20_000),
]


def test_any_text_can_be_asked_of_any_memory(index: MemoryIndex) -> None:
    assert [found(index, text=text) for text in ODD_TEXTS] == [[] for _ in ODD_TEXTS]
    index.upsert("acme", [a_row("m")])
    assert [found(index, text=text) for text in ODD_TEXTS] == [["m"] for _ in ODD_TEXTS]
    index.forget("acme", ["m"])
    assert [found(index, text=text) for text in ODD_TEXTS] == [[] for _ in ODD_TEXTS]


def test_a_superseded_memory_stands_further_down_and_says_why(index: MemoryIndex) -> None:
    index.upsert(
        "acme",
        [
            a_row("old", 0, superseded_by="new"),
            a_row("new", 20),
            a_row("then", 0, text="one", template_id="microservice", template_version="1.2.0"),
            a_row("now", 20, text="two", template_id="microservice", template_version="1.3.0"),
        ],
    )
    query = RecallQuery("🏭", newest={"microservice": "1.3.0"}, words_weight=0.0)
    recalled = {r.memory.id: r for r in index.search("acme", query, QUERY)}
    assert list(recalled) == ["new", "now", "old", "then"]
    assert recalled["old"].superseded == "new"
    assert recalled["then"].superseded == "microservice 1.3.0"
    assert recalled["now"].superseded is None
    assert recalled["old"].score == pytest.approx(recalled["old"].likeness * SUPERSEDED_FACTOR)


def test_near_duplicates_are_shown_as_one_and_counted_as_one(index: MemoryIndex) -> None:
    alike = towards(1, 40)
    index.upsert(
        "acme",
        [
            a_row("a", vector=alike),
            a_row("b", vector=towards(1, 45)),
            a_row("same words", 90, text="what was learned of a"),
            a_row("failed", vector=alike, outcome="failed", text="it did not work"),
            a_row("other", 60),
        ],
    )
    recalled = index.search("acme", RecallQuery("🏭", limit=3), QUERY)
    assert [(r.memory.id, r.folded) for r in recalled] == [
        ("a", ("b", "same words")),
        ("failed", ()),
        ("other", ()),
    ]


ROWS = [
    a_row("plain", 0),
    a_row("failed", 1, kind=Kind.FAILURE, outcome="failed", step="build", project_id="shop"),
    a_row("empty", 2, outcome="", project_id=""),
    a_row("new", 3, created_at=AT + timedelta(days=1), template_version="1.10.0"),
    a_row("old", 4, created_at=AT - timedelta(days=1), template_version="1.2.0", changed_at=None),
    a_row("path", 5, path="src/billing/ledger.py", outcome="succeeded", run_id="run-1"),
]

CONDITIONS: list[Condition] = [
    Compare("outcome", Comparison.EQUAL, "failed"),
    Compare("outcome", Comparison.UNEQUAL, "failed"),
    Compare("outcome", Comparison.LESS, "s"),
    Compare("outcome", Comparison.AT_LEAST, "failed"),
    Compare("kind", Comparison.EQUAL, "failure"),
    Compare("path", Comparison.MORE, "src/"),
    Compare("created_at", Comparison.LESS, AT),
    Compare("created_at", Comparison.AT_MOST, AT),
    Compare("created_at", Comparison.EQUAL, AT),
    Compare("changed_at", Comparison.AT_LEAST, AT),
    Compare("changed_at", Comparison.UNEQUAL, AT),
    OneOf("outcome", ("failed", "")),
    OneOf("created_at", (AT,)),
    OneOf("outcome", ()),
    IsEmpty("outcome"),
    IsEmpty("changed_at"),
    AllOf((IsEmpty("step"), IsEmpty("outcome"))),
    AnyOf((Compare("step", Comparison.EQUAL, "build"), IsEmpty("changed_at"))),
    AllOf(()),
    AnyOf(()),
    Not(AllOf((Not(IsEmpty("outcome")), Compare("run_id", Comparison.EQUAL, "run-1")))),
]


def test_a_condition_means_what_it_means_of_one_memory(index: MemoryIndex) -> None:
    index.upsert("acme", ROWS)
    for condition in [*CONDITIONS, *map(Not, CONDITIONS)]:
        wanted = [row.memory.id for row in ROWS if matches(condition, row.memory)]
        assert found(index, where=condition, limit=10) == wanted, condition


def test_kind_template_and_time_are_filters_too(index: MemoryIndex) -> None:
    index.upsert("acme", ROWS)
    index.upsert("acme", [a_row("of it", 9, template_id="microservice")])
    assert found(index, kinds=(Kind.FAILURE, Kind.TEMPLATE)) == ["failed"]
    assert found(index, kinds=()) == []
    assert found(index, template_id="microservice") == ["of it"]
    day = timedelta(days=1)
    assert found(index, since=AT + day) == ["new"]
    assert found(index, until=AT) == ["old"]
    assert found(index, since=AT - day, until=AT + day, kinds=(Kind.FAILURE,)) == ["failed"]
    assert found(index, text="title", words_weight=1.0, until=AT) == ["old"]
