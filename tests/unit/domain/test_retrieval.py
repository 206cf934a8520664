"""Quality of a search, reckoned by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.memory import Collection
from factory_runtime.domain.retrieval import Half, Quality, Question, quality


def a_question(id_: str = "q", **values: Any) -> Question:
    defaults: dict[str, Any] = {
        "id": id_,
        "collection": Collection.RUNS,
        "half": Half.TEST,
        "style": "question",
        "query": "why?",
        "relevant": {"right": 2, "helps": 1},
        "near_misses": ("near", "nearer"),
    }
    return Question(**{**defaults, **values})


def of(*found: str, **values: Any) -> Quality:
    return quality([a_question(**values)], {"q": found})


def test_the_best_order_is_worth_one() -> None:
    assert of("right", "helps", "near") == Quality(1, 1.0, 1.0, 1.0, 1.0, 0.0)


def test_nothing_found_is_worth_nothing() -> None:
    assert of() == Quality(1, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_no_questions_are_worth_nothing() -> None:
    assert quality([], {}) == Quality(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_what_only_helps_is_no_hit_but_gains() -> None:
    got = of("helps", "other", "right")
    assert (got.hit_at_1, got.hit_at_3, got.mrr) == (0.0, 1.0, pytest.approx(1 / 3))
    # Gains 1 and 3, at ranks 1 and 3; at best 3 and 1, at ranks 1 and 2.
    assert got.ndcg_at_10 == pytest.approx((1 + 3 / 2) / (3 + 1 / math.log2(3)))
    assert got.ndcg_at_10 == pytest.approx(0.688529, abs=1e-6)


def test_two_right_ones_count_by_the_first() -> None:
    got = of("x", "b", "a", relevant={"a": 2, "b": 2})
    assert got.mrr == 0.5
    assert got.ndcg_at_10 == pytest.approx((3 / math.log2(3) + 3 / 2) / (3 + 3 / math.log2(3)))


def test_beyond_the_third_is_no_hit_and_beyond_the_tenth_no_gain() -> None:
    assert of("a", "b", "c", "right").hit_at_3 == 0.0
    others = [f"o-{n}" for n in range(10)]
    got = of(*others, "right")
    assert (got.ndcg_at_10, got.mrr) == (0.0, pytest.approx(1 / 11))
    assert of(*others[:9], "right").ndcg_at_10 > 0


@pytest.mark.parametrize(
    ("found", "is_first"),
    [
        (["near", "right"], 1.0),
        (["helps", "near", "right"], 1.0),
        (["right", "near"], 0.0),
        (["other", "right", "near", "nearer"], 0.0),
        (["near"], 1.0),
        (["helps", "other"], 0.0),
    ],
)
def test_a_near_miss_above_all_that_is_right_is_counted(found: list[str], is_first: float) -> None:
    assert of(*found).near_miss_first == is_first


def test_questions_count_alike() -> None:
    questions = [a_question("one"), a_question("other"), a_question("third")]
    found = {"one": ["right"], "other": ["near", "right"], "third": ["near"]}
    got = quality(questions, found)
    assert (got.questions, got.hit_at_1, got.hit_at_3) == (
        3,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    assert (got.mrr, got.near_miss_first) == (pytest.approx(0.5), pytest.approx(2 / 3))


IDS = ["a", "b", "c", "d", "e"]


@settings(max_examples=100)
@given(
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 2), min_size=1).filter(
        lambda grades: 2 in grades.values()
    ),
    st.permutations([*IDS, "x", "y"]),
    st.integers(0, 7),
)
def test_every_mean_is_a_share_and_a_right_one_first_is_never_worse(
    grades: dict[str, int], order: list[str], length: int
) -> None:
    found = order[:length]
    question = a_question(relevant=grades, near_misses=("x",))
    got = quality([question], {"q": found})
    shares = (got.hit_at_1, got.hit_at_3, got.mrr, got.ndcg_at_10, got.near_miss_first)
    assert all(0 <= share <= 1 + 1e-12 for share in shares)
    right = next(id_ for id_, grade in grades.items() if grade == 2)
    better = quality([question], {"q": [right, *(id_ for id_ in found if id_ != right)]})
    assert better.hit_at_1 == better.mrr == 1.0
    assert better.near_miss_first == 0.0
