"""A dead letter shows failures like it, and what was otherwise when they were got over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import DeadLetter
from factory_runtime.domain.errors import HostRejectedError, MemoryUnavailableError
from factory_runtime.domain.failure_hints import FailureHints, KnownFailure
from factory_runtime.domain.failure_pattern import Resolution
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run
from factory_runtime.ports import JobContext, RecallQuery
from factory_runtime.services.letter_hints import hints_of, look_up
from factory_runtime.services.recall import Recaller
from tests.builders import TENANT
from tests.learning import School
from tests.remembering import Remembering
from tests.small_factory import SmallFactory, fails

SERVICE = """
inputs:
  type: object
  required: [name]
  properties:
    name: {type: string}
    region: {enum: [eu, us], default: eu}
steps:
  - {name: a, type: act, with: {text: '${{ inputs.region }}'}}
"""
FULL = HostRejectedError("region is full, ticket 4711")
CLOSED = HostRejectedError("region is closed and full of rain")


@pytest.fixture
def school(factory: SmallFactory) -> School:
    factory.template(SERVICE)
    return School(factory)


def letter_of(school: School, run: Run) -> DeadLetter:
    with school.factory.store.begin(TENANT, read_only=True) as tx:
        letter = tx.find_dead_letter(run.id, "a")
    assert letter is not None
    return letter


def hints(
    school: School, run: Run, projects: tuple[str, ...] | None = None, **given: Any
) -> FailureHints:
    known = Remembering(school.factory.store)
    known.remember(*school.memories(Kind.FAILURE))
    recaller = Recaller(lambda: known.store, school.factory.clock, known.open)
    letter = letter_of(school, run)
    with school.factory.store.begin(TENANT, read_only=True) as tx:
        looked = look_up(tx, letter, projects)
    return hints_of(letter, looked, given.get("recall", recaller.recall), projects)


def in_eu_it_fails(school: School) -> None:
    def behaviour(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        if with_["text"] == "eu":
            raise FULL
        return JobResult(outputs=dict(with_))

    school.factory.on["a"] = behaviour


def test_of_what_was_never_seen_nothing_is_known(school: School):
    school.factory.on["a"] = fails(FULL)
    run = school.run(name="orders")
    assert hints(school, run) == FailureHints()


def test_the_same_failure_comes_with_what_helped_and_how_often(school: School):
    in_eu_it_fails(school)
    runs = [school.run(name=name) for name in ("orders", "billing", "users")]
    school.again(runs[0], region="us")
    school.learn()
    assert _moved(hints(school, runs[2])).is_confirmed is False
    school.again(runs[1], region="us")
    school.learn()
    confirmed = _moved(hints(school, runs[2]))
    assert (confirmed.is_confirmed, confirmed.tried, confirmed.worked) == (True, 2, 2)
    assert confirmed.rate == 1.0


def test_similar_failures_are_other_kinds_that_read_like_it(school: School):
    school.factory.on["a"] = fails(CLOSED)
    school.run(name="orders")
    school.factory.on["a"] = fails(FULL)
    run = school.run(name="billing")
    school.learn()
    found = hints(school, run)
    (similar,) = found.similar
    assert "closed" in similar.recalled.memory.text
    assert similar.recalled.memory.id != _same(found).recalled.memory.id
    assert 0.5 <= similar.recalled.likeness < 1


def test_what_other_projects_alone_have_seen_is_not_told(school: School):
    school.factory.on["a"] = fails(CLOSED)
    school.run("shop", name="orders")
    school.factory.on["a"] = fails(FULL)
    run = school.run("shop", name="billing")
    school.learn()
    assert hints(school, run, ("mill",)) == FailureHints()
    assert hints(school, run, ("mill", "shop")).similar
    school.run("mill", name="users")
    school.learn()
    of_both = hints(school, run, ("mill",))
    assert of_both.same is not None
    assert of_both.similar == ()


def test_a_memory_that_is_away_hides_nothing_of_the_same_kind(school: School):
    school.factory.on["a"] = fails(CLOSED)
    school.run(name="orders")
    school.factory.on["a"] = fails(FULL)
    run = school.run(name="billing")
    school.learn()

    def away(tenant_id: str, query: RecallQuery) -> tuple[Recalled, ...]:
        raise MemoryUnavailableError("the index is broken")

    found = hints(school, run, recall=away)
    assert (found.similar, found.trouble) == ((), "the index is broken")
    assert found.same is not None


def _moved(found: FailureHints) -> Resolution:
    return next(one for one in _same(found).resolutions if one.words == "region eu → us")


def _same(found: FailureHints) -> KnownFailure:
    assert found.same is not None
    return found.same
