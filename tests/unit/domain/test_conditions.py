"""When a condition is true of a memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.conditions import (
    TEXT_COLUMNS,
    TIME_COLUMNS,
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
from factory_runtime.domain.memory import Kind, Memory

QUICK = settings(max_examples=100)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_memory(**values: Any) -> Memory:
    defaults: dict[str, Any] = {
        "id": "m",
        "tenant_id": "acme",
        "kind": Kind.RUN,
        "title": "t",
        "text": "t",
        "created_at": NOON,
    }
    return Memory(**{**defaults, **values})


EMPTY = a_memory()
FAILED = a_memory(outcome="failed", path="src/a.py", changed_at=NOON)


@pytest.mark.parametrize(
    ("condition", "of_failed", "of_empty"),
    [
        (Compare("outcome", Comparison.EQUAL, "failed"), True, False),
        (Compare("outcome", Comparison.UNEQUAL, "failed"), False, True),
        (Compare("outcome", Comparison.LESS, "g"), True, False),
        (Compare("outcome", Comparison.MORE, "g"), False, False),
        (Compare("outcome", Comparison.AT_MOST, "failed"), True, False),
        (Compare("outcome", Comparison.AT_LEAST, "failed"), True, False),
        (Not(Compare("outcome", Comparison.MORE, "a")), False, True),
        (OneOf("outcome", ("failed", "succeeded")), True, False),
        (Not(OneOf("outcome", ("failed",))), False, True),
        (OneOf("outcome", ()), False, False),
        (IsEmpty("outcome"), False, True),
        (Compare("kind", Comparison.EQUAL, "run"), True, True),
        (Compare("created_at", Comparison.LESS, NOON), False, False),
        (Compare("changed_at", Comparison.AT_MOST, NOON), True, False),
        (AllOf(()), True, True),
        (AnyOf(()), False, False),
    ],
)
def test_what_is_empty_is_only_unequal(
    condition: Condition, of_failed: bool, of_empty: bool
) -> None:
    assert matches(condition, FAILED) is of_failed
    assert matches(condition, EMPTY) is of_empty


def test_an_empty_text_is_no_value() -> None:
    memory = a_memory(outcome="")
    assert matches(IsEmpty("outcome"), memory)
    assert not matches(Compare("outcome", Comparison.AT_LEAST, "a"), memory)
    assert not matches(OneOf("outcome", ("",)), memory)


TEXTS = st.sampled_from(["a", "b", "failed", "ä"])
TIMES = st.integers(-3, 3).map(lambda days: NOON + timedelta(days=days))
COMPARISONS = st.sampled_from(list(Comparison))
COLUMNS = st.sampled_from(sorted(TEXT_COLUMNS))
LEAVES = (
    st.builds(Compare, COLUMNS, COMPARISONS, TEXTS)
    | st.builds(Compare, st.sampled_from(sorted(TIME_COLUMNS)), COMPARISONS, TIMES)
    | st.builds(OneOf, COLUMNS, st.lists(TEXTS, max_size=3).map(tuple))
    | st.builds(IsEmpty, COLUMNS)
)


def _more(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    some = st.lists(inner, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(AllOf, some) | st.builds(AnyOf, some)


CONDITIONS = st.recursive(LEAVES, _more, max_leaves=6)
MEMORIES = st.fixed_dictionaries(
    {},
    optional={
        **{column: st.none() | TEXTS for column in sorted(TEXT_COLUMNS - {"kind"})},
        "kind": st.sampled_from(list(Kind)),
        "created_at": TIMES,
        "changed_at": st.none() | TIMES,
    },
).map(lambda values: a_memory(**values))


@QUICK
@given(CONDITIONS, CONDITIONS, MEMORIES)
def test_a_condition_is_true_or_not(one: Condition, other: Condition, memory: Memory) -> None:
    assert matches(Not(one), memory) == (not matches(one, memory))
    neither = AllOf((Not(one), Not(other)))
    assert matches(Not(AnyOf((one, other))), memory) == matches(neither, memory)
