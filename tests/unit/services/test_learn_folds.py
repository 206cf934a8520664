"""Patterns are folds: the same observations give the same pattern, in whatever order they come."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.circumstances import Circumstances, kept_inputs
from factory_runtime.domain.difference import Difference, difference
from factory_runtime.domain.failure_pattern import fold_failure
from factory_runtime.domain.failure_tries import OWN
from factory_runtime.domain.memory import Observation, ObservationKind
from factory_runtime.domain.memory_text import clean, secrets_in
from factory_runtime.domain.success_pattern import fold_success, telling_inputs
from factory_runtime.services.failure_lines import tries_behind, tries_of
from factory_runtime.services.failure_patterns import memory_of_failure, resolutions_of
from tests.builders import NOON

RUNS, CYCLES = ("r1", "r2", "r3", "r4"), (0, 1, 2)
VALUES = (None, "eu", "us", 3, True, "(redacted)", "large:12ab")


def so_of(value: Any, version: str) -> dict[str, Any]:
    inputs = {} if value is None else {"region": value}
    return Circumstances(inputs, repr(value), version).to_facts()


@st.composite
def cycles(draw: st.DrawFn) -> list[Observation]:
    """A line for each cycle of a few runs, in two steps that fail or succeed."""
    found: list[Observation] = []
    for run in draw(st.lists(st.sampled_from(RUNS), min_size=1, max_size=4, unique=True)):
        at = NOON + timedelta(days=draw(st.integers(0, 40)))
        for cycle in range(draw(st.integers(1, 3))):
            at += timedelta(hours=draw(st.integers(1, 48)))
            value, version = draw(st.sampled_from(VALUES)), draw(st.sampled_from(("1.0", "1.1")))
            ends = {step: draw(st.sampled_from(["ok", "s1", "s2", "-"])) for step in ("a", "b")}
            found.append(line(run, cycle, at, so_of(value, version), ends))
    return found


def line(run: str, cycle: int, at: Any, so: Any, ends: dict[str, str]) -> Observation:
    facts = {
        "template": "demo",
        "so": so,
        "steps": {step: {"at": at.isoformat()} for step, end in ends.items() if end == "ok"},
        "failed": [[step, end, at.isoformat()] for step, end in ends.items() if end[0] == "s"],
    }
    return seen("line-1", ObservationKind.ENDED, run, "", cycle, at, facts)


def seen(subject: str, kind: ObservationKind, run: str, step: str, cycle: int, at: Any, facts: Any):
    return Observation("acme", subject, kind, run, step, cycle, "", at, "shop", facts=facts)


def own(one: Observation, lines: list[Observation]) -> list[Observation]:
    """What the learner keeps of a cycle: its failures, and what it got over of earlier ones."""
    told = {"error_code": "host-rejected", "job_type": "act", "symptom": "no", "fingerprint": "f"}
    facts = {**told, "template": "demo", "so": one.facts["so"], "jobs": 1}
    found = [
        seen(subject, ObservationKind.FAILED, one.run_id, step, one.cycle, one.at, facts)
        for step, subject, _ in one.facts["failed"]
    ]
    earlier = [each for each in lines if each.run_id == one.run_id and each.cycle < one.cycle]
    for step in one.facts["steps"]:
        open_ones = set[str]()
        for each in earlier:
            open_ones = set[str]() if step in each.facts["steps"] else open_ones
            open_ones |= set(failed_in(each, step))
        for subject in sorted(open_ones):
            kept = {"template": "demo", "so": one.facts["so"], OWN: True}
            kind = ObservationKind.TRIED
            found.append(seen(subject, kind, one.run_id, step, one.cycle, one.at, kept))
    return found


def failed_in(one: Observation, step: str) -> list[str]:
    return [subject for name, subject, _ in one.facts["failed"] if name == step]


def learned(order: list[Observation], lines: list[Observation]) -> dict[Any, Observation]:
    """What there is after these were learned one by one, as the learner does it."""
    there: list[Observation] = []
    kept: dict[Any, Observation] = {}
    for one in order:
        there.append(one)
        for each in own(one, lines):
            kept.setdefault(key_of(each), each)
        failed = {subject for _, subject, _ in one.facts["failed"]}
        behind = [each for each in tries_behind(there) if each.subject in failed]
        for each in [*behind, *tries_of(one, marks_in(there), partial(known_in, kept))]:
            kept.setdefault(key_of(each), each)
    return kept


def key_of(one: Observation) -> tuple[Any, ...]:
    return (one.subject, one.kind, one.run_id, one.step, one.cycle)


def known_in(kept: dict[Any, Observation], subject: str) -> list[Observation]:
    kind = ObservationKind.TRIED
    return [one for one in kept.values() if (one.subject, one.kind) == (subject, kind)]


def marks_in(lines: list[Observation]) -> list[Observation]:
    return [
        replace(
            seen("line-1", ObservationKind.FAILED, one.run_id, step, one.cycle, one.at, {}),
            place=subject,
            facts={"inputs_digest": one.facts["so"]["inputs_digest"]},
        )
        for one in lines
        for step, subject, _ in one.facts["failed"]
    ]


def patterns(kept: dict[Any, Observation]) -> list[Any]:
    of = {subject: [o for o in kept.values() if o.subject == subject] for subject in ("s1", "s2")}
    return [fold_failure(some) for some in of.values()]


@settings(max_examples=30)
@given(cycles(), st.randoms(use_true_random=False))
def test_in_whatever_order_cycles_are_learned_the_patterns_are_the_same(
    lines: list[Observation], chance: Any
):
    known = patterns(learned(lines, lines))
    shuffled = [*lines, *lines]
    chance.shuffle(shuffled)
    assert patterns(learned(shuffled, lines)) == known


@settings(max_examples=30)
@given(cycles(), st.sampled_from(RUNS))
def test_a_forgotten_run_leaves_what_there_would_be_without_it(
    lines: list[Observation], forgotten: str
):
    left = [one for one in lines if one.run_id != forgotten]
    kept = {key: one for key, one in learned(lines, lines).items() if one.run_id != forgotten}
    for one in tries_behind(left):
        kept.setdefault(key_of(one), one)
    assert patterns(kept) == patterns(learned(left, left))


@settings(max_examples=30)
@given(cycles())
def test_no_more_is_kept_behind_a_failure_than_two_successes(lines: list[Observation]):
    failures = sum(len(one.facts["failed"]) for one in lines)
    assert len(tries_behind(lines)) <= 2 * failures


@settings(max_examples=30)
@given(cycles())
def test_what_a_memory_tells_of_resolutions_is_what_was_worked_out(lines: list[Observation]):
    for pattern in patterns(learned(lines, lines)):
        if pattern is not None:
            memory = memory_of_failure(pattern, NOON)
            assert resolutions_of(memory) == pattern.resolutions[:10]
            assert all(0 <= one.worked <= one.tried for one in pattern.resolutions)


def test_values_that_are_not_small_count_by_their_name():
    sides = [Circumstances({"note": f"large:{mark}"}) for mark in ("1111", "2222", "3333")]
    one = difference(sides[0], sides[1], same_run=False)
    other = difference(sides[0], sides[2], same_run=False)
    assert (one.words, one.digest) == ("note changed", other.digest)


def test_one_and_true_are_two_values():
    one = difference(Circumstances({"n": 1}), Circumstances({"n": True}), same_run=False)
    assert one.words == "n 1 → yes"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 10**400, "x" * 10**5, ["x"] * 10**5, {"a": {}}, None, "\ud800"],
)
def test_whatever_an_input_is_what_is_kept_of_it_is_small(value: Any):
    inputs = {"value": value, "password": value}
    kept, _ = kept_inputs(clean(inputs, secrets_in(inputs)))
    assert len(json.dumps(kept, allow_nan=False)) < 300
    telling_inputs(clean(inputs, secrets_in(inputs)), None)


def test_another_machine_tells_something_only_where_nothing_else_changed():
    here = Circumstances({"n": 1}, machine="build-7")
    there = Circumstances({"n": 1}, machine="build-8")
    assert difference(here, there, same_run=True).words == "another machine"
    there = Circumstances({"n": 2}, machine="build-8")
    assert difference(here, there, same_run=True).words == "n 1 → 2"


def test_what_is_not_known_of_one_side_is_no_difference():
    one = difference(Circumstances(timeout=None), Circumstances(timeout=60.0), same_run=True)
    assert one == Difference()
    assert one.words == "tried again unchanged"


def test_times_versions_and_environments_are_told():
    before = Circumstances(template_version="1.0", timeout=60.0, environment="python-3.11")
    after = Circumstances(template_version="1.1", timeout=600.0, environment="python-3.12")
    assert difference(before, after, same_run=True).words == (
        "template version 1.0 → 1.1; timeout 60 → 600; environment python-3.11 → python-3.12"
    )


# --- success


def ended(run: str, cycle: int, worked: bool, seconds: float | None = 10) -> Observation:
    at = NOON + timedelta(hours=cycle)
    facts = {
        "template": "demo",
        "title": "Demo",
        "version": "1.0",
        "telling": {"public": True},
        "layers": ["a"],
        "seconds": seconds,
    }
    kind = ObservationKind.ENDED
    return Observation(
        "acme", "mem-1", kind, run, "", cycle, "", at, "shop", worked=worked, facts=facts
    )


@settings(max_examples=30)
@given(
    st.lists(st.builds(ended, st.sampled_from(RUNS), st.sampled_from(CYCLES), st.booleans())),
    st.randoms(use_true_random=False),
)
def test_a_run_counts_once_by_its_last_cycle(some: list[Observation], chance: Any):
    last: dict[str, Observation] = {}
    for one in {(one.run_id, one.cycle): one for one in reversed(some)}.values():
        if one.run_id not in last or last[one.run_id].cycle < one.cycle:
            last[one.run_id] = one
    unique = list({(one.run_id, one.cycle): one for one in reversed(some)}.values())
    chance.shuffle(unique)
    pattern = fold_success(unique)
    if not last:
        assert pattern is None
        return
    assert pattern is not None
    assert pattern.count == len(last)
    assert pattern.succeeded == sum(bool(one.worked) for one in last.values())


def test_a_pattern_holds_from_three_successes_and_four_of_five():
    good = [ended(f"run-{number}", 0, worked=True) for number in range(4)]
    assert [(p := fold_success(good[:n])) is not None and p.holds for n in (1, 2, 3)] == [
        False,
        False,
        True,
    ]
    bad = [ended(f"bad-{number}", 0, worked=False) for number in range(2)]
    four_of_five, four_of_six = fold_success([*good, bad[0]]), fold_success([*good, *bad])
    assert four_of_five is not None
    assert four_of_five.holds
    assert four_of_six is not None
    assert not four_of_six.holds
