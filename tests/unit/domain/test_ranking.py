"""The order of what a search found: weighed, demoted, folded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.memory import Kind, Memory, Recalled
from factory_runtime.domain.ranking import (
    FOLD_AMONG,
    SUPERSEDED_FACTOR,
    WORDS_WEIGHT,
    Candidate,
    Near,
    rank,
)

QUICK = settings(max_examples=60)


def a_memory(id_: str, **values: Any) -> Memory:
    defaults: dict[str, Any] = {
        "id": id_,
        "tenant_id": "acme",
        "kind": Kind.RUN,
        "title": id_,
        "text": f"the text of {id_}",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Memory(**{**defaults, **values})


def found(id_: str, likeness: float, words: float | None = None, **values: Any) -> Candidate:
    return Candidate(id_, likeness, words, lambda: a_memory(id_, **values))


def same(candidates: Sequence[Candidate]) -> Near:
    """Those with the same text."""
    texts = [one.read().text for one in candidates]
    return lambda place: {n for n, text in enumerate(texts) if text == texts[place]}


def ids(recalled: Sequence[Recalled]) -> list[str]:
    return [one.memory.id for one in recalled]


def test_nothing_found_and_nothing_asked_for_are_nothing() -> None:
    assert rank([], limit=5) == ()
    assert rank([found("a", 0.9)], limit=0) == ()


def test_a_score_weighs_meaning_and_words() -> None:
    both, words, meaning = rank(
        [found("meaning", 0.5), found("words", 0.2, 8.0), found("both", 0.6, 4.0)],
        limit=5,
        words_weight=0.5,
    )
    assert (both.memory.id, both.likeness, both.words) == ("words", 0.2, 1.0)
    assert both.score == pytest.approx(0.6)
    assert (words.memory.id, words.score) == ("both", pytest.approx(0.55))
    assert (meaning.memory.id, meaning.score, meaning.words) == ("meaning", 0.25, 0.0)


def test_a_query_that_says_no_weight_has_the_usual_one() -> None:
    (one,) = rank([found("a", 0.5, 3.0)], limit=1)
    assert one.score == pytest.approx((1 - WORDS_WEIGHT) * 0.5 + WORDS_WEIGHT)


def test_the_best_of_words_that_hardly_stand_anywhere_is_not_raised_to_the_top() -> None:
    """A BM25 score counts beside what so many words could have had, not beside the best found."""
    candidates = [found("a", 0.5, 9.0), found("b", 0.5, 4.5)]
    first, second = rank(candidates, limit=5, words_asked=4)
    assert (first.words, second.words) == (0.5, 0.25)
    first, second = rank(candidates, limit=5, words_asked=1)
    assert (first.words, second.words) == (1.0, 0.5)


def test_meaning_alone_and_words_alone_do_not_see_each_other() -> None:
    candidates = [found("a", 0.9), found("b", 0.1, 2.0), found("c", 0.2, 1.0)]
    assert ids(rank(candidates, limit=5, words_weight=0)) == ["a", "c", "b"]
    assert ids(rank(candidates, limit=5, words_weight=1)) == ["b", "c"]


def test_the_opposite_is_no_worse_than_unrelated() -> None:
    (a, b) = rank([found("b", -0.4), found("a", -0.1)], limit=5)
    assert (a.memory.id, b.memory.id, a.likeness, b.likeness) == ("a", "b", 0.0, 0.0)
    (more,) = rank([found("a", 1.0000001)], limit=5, words_weight=0)
    assert more.score == 1.0


def test_words_that_score_nothing_divide_by_nothing() -> None:
    (one,) = rank([found("a", 0.5, 0.0)], limit=5)
    assert one.words == 0.0


# superseded


def test_what_is_superseded_stands_further_down_and_says_by_what() -> None:
    old, new = rank([found("old", 0.9, superseded_by="new"), found("new", 0.8)], limit=5)[::-1]
    assert (old.memory.id, old.superseded) == ("old", "new")
    assert old.score == pytest.approx(0.9 * (1 - WORDS_WEIGHT) * SUPERSEDED_FACTOR)
    assert (old.likeness, new.superseded) == (0.9, None)


@pytest.mark.parametrize("kind", [Kind.TEMPLATE, Kind.RUN, Kind.FAILURE, Kind.SUCCESS])
def test_what_tells_of_an_older_version_of_a_template_is_superseded(kind: Kind) -> None:
    one = found("a", 0.9, kind=kind, template_id="microservice", template_version="1.2.0")
    (recalled,) = rank([one], limit=5, newest={"microservice": "1.3.0"})
    assert recalled.superseded == "microservice 1.3.0"


@pytest.mark.parametrize(
    "values",
    [
        {"kind": Kind.CODE, "template_id": "microservice", "template_version": "1.2.0"},
        {"kind": Kind.DOCUMENT, "template_id": "microservice", "template_version": "1.2.0"},
        {"template_id": "microservice", "template_version": "1.3.0"},
        {"template_id": "microservice"},
        {"template_id": "report", "template_version": "1.0.0"},
        {},
    ],
)
def test_nothing_else_is(values: dict[str, Any]) -> None:
    (recalled,) = rank([found("a", 0.9, **values)], limit=5, newest={"microservice": "1.3.0"})
    assert recalled.superseded is None


def test_a_memory_that_is_superseded_twice_is_demoted_once() -> None:
    one = found("a", 1.0, superseded_by="b", template_id="microservice", template_version="1.2.0")
    (recalled,) = rank([one], limit=5, words_weight=0, newest={"microservice": "1.3.0"})
    assert (recalled.score, recalled.superseded) == (SUPERSEDED_FACTOR, "b")


# folding


def test_the_same_text_is_shown_once() -> None:
    candidates = [found("b", 0.8, text="t"), found("a", 0.8, text="t"), found("c", 0.9, text="t")]
    (one,) = rank(candidates, limit=5, near=same(candidates))
    assert (one.memory.id, one.folded) == ("c", ("a", "b"))


def test_near_duplicates_are_shown_as_the_best_of_them() -> None:
    candidates = [found("a", 0.8), found("b", 0.9), found("c", 0.7), found("d", 0.6)]
    near = {0: {0, 1, 2}, 1: {0, 1}, 2: {0, 2}, 3: {3}}
    recalled = rank(candidates, limit=5, near=near.__getitem__)
    # c is near a, which is not shown: it is compared with what is.
    assert [(one.memory.id, one.folded) for one in recalled] == [
        ("b", ("a",)),
        ("c", ()),
        ("d", ()),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"outcome": "failed"}, {"outcome": "succeeded"}),
        ({"outcome": "failed"}, {}),
        ({"kind": Kind.FAILURE}, {"kind": Kind.RUN}),
    ],
)
def test_what_ended_otherwise_or_is_something_else_is_never_folded(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    candidates = [found("a", 0.8, text="t", **one), found("b", 0.8, text="t", **other)]
    recalled = rank(candidates, limit=5, near=lambda _: {0, 1})
    assert [(one.memory.id, one.folded) for one in recalled] == [("a", ()), ("b", ())]


def test_what_is_folded_leaves_room_for_the_next() -> None:
    candidates = [found(f"same-{n}", 0.9, text="t") for n in range(3)]
    candidates += [found("next", 0.5), found("last", 0.4)]
    assert ids(rank(candidates, limit=2, near=same(candidates))) == ["same-0", "next"]


def test_a_duplicate_below_the_last_that_is_shown_still_counts_as_one() -> None:
    candidates = [found("a", 0.9, text="t"), found("b", 0.5), found("c", 0.4, text="t")]
    assert rank(candidates, limit=1, near=same(candidates))[0].folded == ("c",)


def test_only_those_that_are_shown_and_their_duplicates_are_read() -> None:
    read: list[str] = []

    def candidate(id_: str, likeness: float, **values: Any) -> Candidate:
        def noted() -> Memory:
            read.append(id_)
            return a_memory(id_, **values)

        return Candidate(id_, likeness, None, noted)

    candidates = [
        candidate("old", 0.9, superseded_by="new"),
        candidate("first", 0.85),
        candidate("twin", 0.5),
        candidate("new", 0.8),
        candidate("last", 0.7),
    ]
    near = {1: {1, 2}}
    recalled = rank(candidates, limit=2, near=lambda place: near.get(place, ()))
    assert [(one.memory.id, one.folded) for one in recalled] == [("first", ("twin",)), ("new", ())]
    assert sorted(read) == ["first", "new", "old", "twin"]


def test_what_is_demoted_stands_where_its_score_puts_it() -> None:
    candidates = [found("old", 1.0, superseded_by="new"), found("a", 0.9), found("b", 0.8)]
    recalled = rank([*candidates, found("c", 0.7)], limit=3, words_weight=0)
    assert [(one.memory.id, one.score) for one in recalled] == [
        ("a", 0.9),
        ("b", 0.8),
        ("old", 0.8),
    ]


def test_many_that_are_superseded_hide_none_that_is_not() -> None:
    old = [found(f"old-{n:02}", 0.9, superseded_by="new") for n in range(3 * FOLD_AMONG)]
    recalled = rank([*old, found("current", 0.8)], limit=1, words_weight=0)
    assert ids(recalled) == ["current"]


@pytest.mark.parametrize("many", [1, 19, 20, 21, 60])
def test_nor_do_they_keep_those_behind_them_from_being_folded(many: int) -> None:
    old = [found(f"old-{n:02}", 0.9, superseded_by="new") for n in range(many)]
    twins = [found("first", 0.8, text="t"), found("twin", 0.79, text="t"), found("next", 0.78)]
    candidates = [*old, *twins]
    recalled = rank(candidates, limit=2, words_weight=0, near=same(candidates))
    assert [(one.memory.id, one.folded) for one in recalled] == [("first", ("twin",)), ("next", ())]


def test_duplicates_are_looked_for_among_the_best_only() -> None:
    candidates = [found(f"m-{n:03}", 0.9 - n / 1000, text="t") for n in range(30)]
    asked: list[int] = []

    def near(place: int) -> tuple[int, ...]:
        asked.append(place)
        return tuple(range(30))

    (one,) = rank(candidates, limit=1, near=near)
    assert len(one.folded) == FOLD_AMONG - 1
    assert asked == [0]


CANDIDATES = st.lists(
    st.tuples(
        st.sampled_from("tuvwxyz"),
        st.floats(-1, 1),
        st.none() | st.floats(0, 50),
        st.sampled_from([Kind.RUN, Kind.FAILURE]),
        st.sampled_from([None, "failed", "succeeded"]),
    ),
    max_size=12,
)


@QUICK
@given(CANDIDATES, st.floats(0, 1), st.integers(0, 6), st.randoms(use_true_random=False))
def test_nobody_stands_twice_and_the_order_of_finding_is_no_matter(
    drawn: list[Any], weight: float, limit: int, random: Any
) -> None:
    candidates = [
        found(f"m-{n:02}", likeness, words, text=text, kind=kind, outcome=outcome)
        for n, (text, likeness, words, kind, outcome) in enumerate(drawn)
    ]
    recalled = rank(candidates, limit=limit, words_weight=weight, near=same(candidates))
    everyone = [id_ for one in recalled for id_ in (one.memory.id, *one.folded)]
    assert len(everyone) == len(set(everyone))
    assert len(recalled) <= limit
    scores = [one.score for one in recalled]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= one.score <= 1 + 1e-9 for one in recalled)
    random.shuffle(candidates)
    again = rank(candidates, limit=limit, words_weight=weight, near=same(candidates))
    assert again == recalled
