"""What is learned of failures, and of what was otherwise when they were got over."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.errors import HostRejectedError, StaleVersionError
from factory_runtime.domain.memory import ForgetScope, Kind
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services import forget_memory
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.services.failure_patterns import find_failure_memory_id
from factory_runtime.services.refold import refold
from tests.builders import TENANT, a_message
from tests.learning import School
from tests.small_factory import SmallFactory, fails

SERVICE = """
inputs:
  type: object
  required: [name]
  properties:
    name: {type: string}
    region: {enum: [eu, us, asia], default: eu}
    db_password: {type: string}
steps:
  - {name: a, type: act}
  - {name: b, type: act, needs: [a], with: {text: '${{ inputs.region }}'}}
"""
NO = HostRejectedError("region eu is full, ticket 4711")


@pytest.fixture
def school(factory: SmallFactory) -> School:
    factory.template(SERVICE)
    return School(factory)


def refuse(school: School, *regions: str) -> None:
    """Step b fails in these regions, always of the same kind."""

    def behaviour(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        if with_["text"] in regions:
            raise HostRejectedError(f"no room for {school.factory.clock.at:%s}")
        return JobResult(outputs=dict(with_))

    school.factory.on["b"] = behaviour


def test_a_failure_is_a_pattern_with_its_symptom_cause_and_place(school: School):
    school.factory.on["b"] = fails(NO)
    first, second = school.run(name="orders"), school.run(name="billing")
    school.learn()
    memory = school.memory(Kind.FAILURE)
    with school.factory.store.begin(TENANT, read_only=True) as tx:
        letter = tx.find_dead_letter(first.id, "b")
    assert letter is not None
    assert memory.id == find_failure_memory_id(TENANT, letter.fingerprint)
    assert memory.text == (
        "act failed with host-rejected: region eu is full, ticket <n>.\n"
        "Cause: host.\n"
        "In step b of demo."
    )
    assert (memory.project_id, memory.template_id, memory.step, memory.run_id) == (
        "shop",
        "demo",
        "b",
        None,
    )
    facts = memory.facts
    assert (facts["runs"], facts["jobs"], facts["cause"]) == (2, 2, "host")
    assert facts["first_seen"] == str(first.completed_at).replace(" ", "T")
    assert facts["last_seen"] == str(second.completed_at).replace(" ", "T")
    assert school.resolutions() == ()


def test_what_was_otherwise_is_a_candidate_once_and_confirmed_twice(school: School):
    refuse(school, "eu")
    school.again(school.run(name="orders"), region="us")
    school.learn()
    assert school.told() == [("region eu → us", 1, 1, False)]
    assert "What may have helped: region eu → us." in school.memory(Kind.FAILURE).text
    school.again(school.run(name="billing"), region="us")
    school.learn()
    assert school.told() == [("region eu → us", 2, 2, True)]
    assert "What helped: region eu → us." in school.memory(Kind.FAILURE).text


def test_two_differences_are_two_candidates(school: School):
    refuse(school, "eu")
    school.again(school.run(name="orders"), region="us")
    school.again(school.run(name="billing"), region="asia")
    school.learn()
    assert sorted(school.told()) == [
        ("region eu → asia", 1, 1, False),
        ("region eu → us", 1, 1, False),
    ]


def test_a_difference_that_fails_again_was_tried_and_did_not_work(school: School):
    refuse(school, "eu", "us")
    run = school.again(school.run(name="orders"), region="us")
    run = school.again(run, region="asia")
    assert run.status is RunStatus.SUCCEEDED
    school.learn()
    assert school.told() == [("region us → asia", 1, 1, False), ("region eu → us", 1, 0, False)]


def test_another_failure_on_the_way_does_not_hide_what_helped(school: School):
    refuse(school, "eu")
    run = school.run(name="orders")
    school.factory.on["b"] = fails(ValueError("quite another"))
    run = school.again(run, region="us")
    school.factory.on.clear()
    school.again(run, region="asia")
    school.learn()
    known = {
        memory.facts["error_code"]: memory.facts["resolutions"][0]["words"]
        for memory in school.memories(Kind.FAILURE)
    }
    assert known == {"host-rejected": "region eu → asia", "ValueError": "region us → asia"}


def test_the_same_tried_again_is_a_resolution_too(school: School):
    school.factory.on["b"] = fails(NO, times=1)
    school.again(school.run(name="orders"))
    school.factory.on["b"] = fails(NO, times=2)
    school.again(school.again(school.run(name="billing")))
    school.learn()
    (one,) = school.resolutions()
    assert (one.words, one.tried, one.worked) == ("tried again unchanged", 3, 2)
    assert (one.is_confirmed, one.rate) == (True, pytest.approx(2 / 3))


def test_another_run_that_succeeds_later_shows_what_was_otherwise(school: School):
    refuse(school, "eu")
    school.run(name="orders")
    school.run(name="orders", region="us")
    school.run(name="orders", region="asia")  # not the first behind the failure
    school.learn()
    assert school.told() == [("region eu → us", 1, 1, False)]


def test_a_success_of_the_same_inputs_stands_behind_the_failure_of_these(school: School):
    school.factory.on["b"] = fails(NO, times=2)
    school.run(name="orders")
    school.run(name="billing")
    school.run(name="orders")
    school.run(name="billing")
    school.learn()
    # Twice a failure was not repeated, and once billing failed as orders had.
    assert school.told() == [("tried again unchanged", 2, 2, True)]


def test_a_success_before_the_failure_or_a_month_later_has_nothing_to_do_with_it(school: School):
    refuse(school, "eu")
    school.run(name="orders", region="us")
    school.run(name="orders")
    school.factory.clock.pass_time(timedelta(days=31))
    school.run(name="orders", region="us")
    school.learn()
    assert school.told() == []


def test_a_secret_that_was_changed_is_told_by_its_name_alone(school: School):
    canary = "canary-0-of-the-mine"
    school.factory.on["b"] = fails(HostRejectedError(f"no login with {canary}"), times=1)
    run = school.run(name="orders", db_password=canary)
    school.again(run, db_password="another-canary")  # noqa: S106
    school.learn()
    assert school.told() == [("db_password changed", 1, 1, False)]
    assert "canary" not in everything_known(school)


def test_no_secret_is_in_a_record_or_an_observation(school: School):
    canary = "gh" + "p_" + "c4n4ryC4N4RYc4n4ryC4N4RYc4n4ry"
    school.factory.on["b"] = fails(HostRejectedError(f"{canary} and token={canary}"))
    school.run(name=f"orders {canary}", db_password=canary)
    school.learn()
    assert len(school.memories(Kind.RUN)) == len(school.memories(Kind.FAILURE)) == 1
    assert canary not in everything_known(school)


def everything_known(school: School) -> str:
    with school.factory.store.begin(TENANT, read_only=True) as tx:
        memories = tx.list_memories()
    told = [[memory.title, memory.text, dict(memory.facts)] for memory in memories]
    seen = [
        [*map(str, (one.subject, one.step, one.place)), one.facts] for one in school.observations()
    ]
    return json.dumps([told, seen])


# --- in any order, late, twice, gone


def test_in_whatever_order_and_however_often_the_patterns_are_the_same(
    school: School, tmp_path: Any
):
    refuse(school, "eu")
    orders = school.run(name="orders")
    school.run(name="billing")
    school.run(name="billing", region="us")
    school.again(orders, region="us")
    school.run(name="orders", region="asia")
    school.learn()
    known = known_patterns(school)
    assert known
    for seed in range(2):
        messages = school.messages() * 2
        random.Random(seed).shuffle(messages)  # noqa: S311
        with school.factory.store.begin(TENANT) as tx:
            tx.delete_memories([one.id for one in tx.list_memories()])
            tx.delete_observations()
        school.learn(messages)
        assert known_patterns(school) == known


def known_patterns(school: School) -> list[Any]:
    patterns = [*school.memories(Kind.FAILURE), *school.memories(Kind.SUCCESS)]
    return [(one.id, one.text, one.facts) for one in patterns]


def test_a_run_that_went_on_before_it_was_learned_of_shows_all_its_cycles(school: School):
    refuse(school, "eu")
    run = school.again(school.run(name="orders"), region="us")
    first, second = school.messages()
    school.learn([first])
    assert school.told() == [("region eu → us", 1, 1, False)]
    before = school.memory(Kind.RUN)
    school.learn([second])
    assert school.memory(Kind.RUN) == before
    assert before.facts["learnings"] == {
        "failures": [school.memory(Kind.FAILURE).id],
        "solved": [
            {"failure": school.memory(Kind.FAILURE).id, "step": "b", "by": "region eu → us"}
        ],
    }
    assert before.text.endswith("b worked after: region eu → us.")
    assert before.outcome == run.status.value.lower()


def test_a_run_that_is_under_way_again_has_no_summary_yet(school: School):
    refuse(school, "eu")
    run = school.run(name="orders")
    desk = school.factory.desk
    from factory_runtime.services.retry_run import retry_run

    retry_run(desk.store, desk.clock, TENANT, run.id, "ada", desk=desk)
    school.learn()
    assert school.memories(Kind.RUN) == ()
    assert school.memory(Kind.FAILURE).facts["runs"] == 1


def test_a_run_that_is_gone_teaches_nothing_and_is_asked_for_once(school: School):
    with pytest.raises(GivenUpError, match="run-none"):
        school.learner.learn_run(a_message(payload={"run_id": "run-none"}))


def test_what_went_on_while_it_was_read_is_done_again(
    school: School, monkeypatch: pytest.MonkeyPatch
):
    school.factory.on["b"] = fails(NO, times=1)
    run = school.run(name="orders")
    (message,) = school.messages()
    from factory_runtime.services import learn_run
    from factory_runtime.services.run_record import read_run

    def read_and_go_on(*args: Any) -> Any:
        record = read_run(*args)
        school.again(run)
        return record

    with monkeypatch.context() as patch:
        patch.setattr(learn_run, "read_run", read_and_go_on)
        with pytest.raises(StaleVersionError):
            school.learner.learn_run(message)
    assert school.observations() == ()
    school.learn()
    assert school.told() == [("tried again unchanged", 1, 1, False)]


# --- forgetting


def test_a_forgotten_run_is_gone_from_the_pattern_as_if_it_had_never_been(school: School):
    refuse(school, "eu")
    school.run(name="orders")
    helped = school.run(name="orders", region="us")
    school.run(name="orders", region="asia")
    school.learn()
    assert school.told() == [("region eu → us", 1, 1, False)]
    forget(school, helped)
    # Now the one after it is the first that succeeded.
    assert school.told() == [("region eu → asia", 1, 1, False)]


def test_a_pattern_ends_with_the_last_run_that_showed_it(school: School):
    school.factory.on["b"] = fails(NO)
    run = school.run(name="orders")
    school.learn()
    id_ = school.memory(Kind.FAILURE).id
    assert forget(school, run) == (id_,)
    assert school.memories(Kind.FAILURE) == ()


def test_what_was_tried_against_a_failure_that_is_forgotten_does_not_name_it(school: School):
    refuse(school, "eu")
    failed = school.run(name="orders")
    refuse(school)
    helped = school.run(name="orders")
    school.learn()
    id_ = school.memory(Kind.FAILURE).id
    assert {one.run_id for one in school.observations() if one.subject == id_} == {
        failed.id,
        helped.id,
    }
    forget(school, failed)
    assert {one.run_id for one in school.observations()} == {helped.id}
    assert id_ not in repr(school.observations())
    refuse(school, "eu")
    school.run(name="orders")
    refuse(school)
    school.run(name="orders")
    school.learn()
    assert school.told() == [("tried again unchanged", 1, 1, False)], "it is learned of anew"


def forget(school: School, run: Run) -> tuple[str, ...]:
    with school.factory.store.begin(TENANT) as tx:
        subjects = tx.delete_observations(run_id=run.id)
        return refold(tx, subjects, school.factory.clock.at)


def test_a_project_that_is_forgotten_page_by_page_leaves_what_the_others_showed(
    school: School, monkeypatch: pytest.MonkeyPatch
):
    refuse(school, "eu")
    school.again(school.run(name="orders"), region="us")
    school.again(school.run("office", name="x"), region="us")
    school.learn()
    assert school.memory(Kind.FAILURE).facts["runs"] == 2
    monkeypatch.setattr(forget_memory, "_PAGE", 1)
    store, clock, project = school.factory.store, school.factory.clock, ForgetScope.PROJECT
    forget_memory.forget(store, clock, refold, TENANT, project, "office", "ada")
    assert school.told() == [("region eu → us", 1, 1, False)]
    assert school.memory(Kind.FAILURE).facts["runs"] == 1
    assert {one.project_id for one in school.observations()} == {"shop"}
    forget_memory.forget(store, clock, refold, TENANT, project, "shop", "ada")
    assert (school.observations(), school.memories(Kind.FAILURE)) == ((), ())


# --- more than one


def test_values_of_one_project_are_not_told_where_others_look(factory: SmallFactory):
    factory.template(SERVICE)
    school = School(factory)
    refuse(school, "eu")
    school.again(school.run(name="orders"), region="us")
    there = school.run("office", name="x")
    school.learn()
    assert school.told() == [("region changed", 1, 1, False)]
    assert school.memory(Kind.FAILURE).project_id is None
    school.again(there, region="us")
    school.learn()
    assert school.told() == [("region eu → us", 2, 2, True)]
