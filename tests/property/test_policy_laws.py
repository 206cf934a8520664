"""Laws of policies: nothing that is written in one breaks its reader, and more rules allow less."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.compiler.policy_file import POLICY_KEYS, Known, read_policy
from factory_runtime.domain.policy import Policy
from factory_runtime.services.combined_policies import combined_limits
from factory_runtime.services.policy_check import PolicyFacts, refusals, rule_on

_KEYS = [
    *POLICY_KEYS,
    *("versions", "withdrawn", "name", "when", "by", "count", "expires", "escalate", "after", "to"),
    *("message", "kinds", "runs_per_day", "running_runs", "projects", "properties", "type", "$ref"),
    *("pattern", "required", "microservice", "*", "1.0.0", ""),
]
_WORDS = [
    *(">=1", "1d", "0s", "${{ inputs.a }}", "${{ inputs", "${{ steps.a.outputs.b }}", "$NAME"),
    *("log://", "jsons://a:b@c", "object", "#", "(", "group:", "ada", "dead-letter", "\x85", "é"),
]
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(_WORDS), st.text()
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    ),
    max_leaves=12,
)
_POLICIES = st.dictionaries(st.sampled_from(POLICY_KEYS), _VALUES, max_size=6)


@settings(max_examples=200)
@given(_POLICIES | _VALUES)
def test_whatever_a_policy_holds_it_is_read_or_its_mistakes_are_named(value: Any):
    body = json.dumps(value).encode()
    reading = read_policy(body, "p.yaml", "table", Known(templates=("a",), job_types=("b",)))
    assert (reading.policy is None) is bool(reading.problems)
    assert all(problem.line > 0 and str(problem) for problem in reading.problems)
    if reading.policy is not None:
        facts = PolicyFacts("microservice", "1.0.0", {"a": 1})
        refusals([reading.policy], facts)  # raises nothing
        assert rule_on([reading.policy], facts).policies == (reading.policy,)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_whatever_lies_in_the_place_of_a_policy_is_none_or_is_read(body: bytes):
    reading = read_policy(body, "p.yaml", "table")
    assert (reading.policy is None) is bool(reading.problems)


_CAPS = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3))
_NOTHING: dict[str, st.SearchStrategy[Any]] = {}
_QUOTAS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    _NOTHING,
    optional={
        "templates": st.dictionaries(
            st.sampled_from(["a", "*"]),
            st.sampled_from([{}, {"versions": ">=2"}, {"withdrawn": {"1.0.0": "old"}}]),
        ),
        "quotas": st.fixed_dictionaries(
            _NOTHING, optional={"running_runs": st.integers(0, 3), "projects": _CAPS}
        ),
        "topics": _CAPS,
        "max_deadline": st.sampled_from(["1h", "2h", "3h"]),
    },
)


def _read(value: Any, source: str) -> Policy:
    policy = read_policy(json.dumps(value).encode(), source, source).policy
    assert policy is not None
    return policy


@settings(max_examples=100)
@given(_QUOTAS, _QUOTAS, st.sampled_from(["1.0.0", "2.0.0"]))
def test_two_policies_allow_what_each_of_them_allows_and_no_more(one: Any, two: Any, version: str):
    first, second = _read(one, "first"), _read(two, "second")
    facts = PolicyFacts("a", version, {})
    each = [refusals([policy], facts).problems for policy in (first, second)]
    assert refusals([first, second], facts).problems == [*each[0], *each[1]]
    both = combined_limits([first, second])
    for limits in (first.limits, second.limits):
        if limits.running_runs is not None:
            assert both.running_runs is not None
            assert both.running_runs <= limits.running_runs
        assert all(both.projects[name] <= cap for name, cap in limits.projects.items())
        assert all(both.topics[name] <= cap for name, cap in limits.topics.items())
    longest = rule_on([first, second], facts).max_deadline
    limits = [p.max_deadline for p in (first, second) if p.max_deadline is not None]
    assert longest == (min(limits) if limits else None)
