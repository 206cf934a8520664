"""What an ended run, and a published template, become as memories."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.approval import Approval, ApprovalStatus
from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import HostRejectedError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import ForgetScope, Forgotten, Kind, Memory
from factory_runtime.domain.memory_text import secrets_in
from factory_runtime.domain.run import RunStatus
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.run_lessons import lessons_of
from factory_runtime.services.topics import MEMORY_OF_TEMPLATE
from tests.approvals import approval_of, go_on, vote, waiting
from tests.builders import (
    NOON,
    TENANT,
    a_job,
    a_letter,
    a_message,
    a_run,
    a_template_record,
    after,
)
from tests.learning import School
from tests.small_factory import SmallFactory, fails

NO = HostRejectedError("no")
CHOICES = """
inputs:
  type: object
  required: [name]
  properties:
    name: {type: string}
    database: {enum: [postgres, none], default: none}
    public: {type: boolean, default: false}
    size: {type: integer, default: 3}
    entities: {type: array, items: {type: string}, default: []}
steps:
  - {name: a, type: act}
  - {name: pg, type: act, needs: [a], when: "${{ inputs.database == 'postgres' }}"}
  - {name: b, type: act, needs: [a]}
"""


@pytest.fixture
def school(factory: SmallFactory) -> School:
    factory.template(CHOICES)
    return School(factory)


def everything_in(memory: Memory) -> str:
    return json.dumps([memory.title, memory.text, dict(memory.facts)])


# --- decisions


def test_what_was_skipped_stood_in_for_and_gone_without_is_told(factory: SmallFactory):
    factory.template("""
        steps:
          - {name: a, type: act, on_failure: continue}
          - {name: b, type: act, on_failure: {fallback: c}}
          - {name: c, type: act}
          - {name: d, type: act, when: '${{ 1 == 2 }}'}
    """)
    school = School(factory)
    factory.on |= {"a": fails(NO), "b": fails(NO)}
    assert school.run().status is RunStatus.SUCCEEDED
    school.learn()
    memory = school.memory(Kind.RUN)
    assert memory.facts["decisions"] == {
        "skipped": ["d"],
        "fallbacks": [{"step": "c", "instead_of": ["b"]}],
        "without": ["a"],
    }
    assert "c ran instead of b.\nWent on without a." in memory.text
    assert [job["status"] for job in memory.facts["jobs"]] == [
        "Failed",
        "Failed",
        "Succeeded",
        "Skipped",
    ]


@pytest.mark.parametrize("granted", [True, False])
def test_what_people_decided_is_told_with_their_role_and_comment(
    factory: SmallFactory, granted: bool
):
    run = waiting(factory)
    canary = "password=canary-in-a-mine"
    vote(
        factory, approval_of(factory, run), "linus", "ops", granted=granted, comment=f"as {canary}"
    )
    go_on(factory, run)
    school = School(factory)
    school.learn()
    memory = school.memory(Kind.RUN)
    (decision,) = memory.facts["decisions"]["approvals"]
    assert (decision["step"], decision["status"]) == ("gate", "granted" if granted else "denied")
    assert (decision["roles"], decision["by_policy"]) == (["ops"], False)
    assert decision["votes"] == [{"granted": granted, "comment": "as password=(redacted)"}]
    assert "linus" not in json.dumps(decision)
    # What a person decided is no failure to be got over.
    assert school.memories(Kind.FAILURE) == ()


def test_an_approval_that_a_policy_wanted_is_told_as_one():
    run = a_run()
    asked = Approval(
        id="approval-1",
        tenant_id=TENANT,
        run_id=run.id,
        step="policy-production",
        project_id="shop",
        plan_digest="d" * 64,
        requested_by="ada",
        message="May it go to production?",
        by=("group:ops", "grace"),
        count=1,
        requested_at=NOON,
        expires_at=NOON,
        status=ApprovalStatus.GRANTED,
    )
    lessons = lessons_of((), None, [(asked, ())], (), (), secrets_in({}))
    (decision,) = lessons.decisions["approvals"]
    assert (decision["by_policy"], decision["roles"], decision["status"]) == (
        True,
        ["ops"],
        "granted",
    )


# --- success


def test_a_combination_that_keeps_succeeding_is_a_pattern_from_the_third_time(school: School):
    for name in ("orders", "billing"):
        school.run(name=name, database="postgres", entities=["x"])
    school.learn()
    assert school.memories(Kind.SUCCESS) == ()
    school.run(name="stock", database="postgres", entities=["y", "z"])
    school.run(name="other", database="none")
    school.learn()
    memory = school.memory(Kind.SUCCESS)
    facts = memory.facts
    assert facts["inputs"] == {
        "database": "postgres",
        "entities": "some",
        "public": False,
        "size": 3,
    }
    assert facts["layers"] == ["a", "pg", "b"]
    assert (facts["count"], facts["succeeded"], facts["rate"]) == (3, 3, 1.0)
    assert (facts["mean_seconds"], facts["versions"]) == (0.0, ["1.0.0"])
    assert memory.title == (
        "Demo keeps succeeding with database: postgres; entities: some; size: 3"
    )
    assert memory.outcome == "succeeded"
    assert "orders" not in everything_in(memory)


def test_a_pattern_that_fails_too_often_is_none_any_more(school: School):
    for _ in range(3):
        school.run(name="orders")
    school.learn()
    assert school.memory(Kind.SUCCESS).facts["count"] == 3
    school.factory.on["b"] = fails(NO)
    school.run(name="orders")
    school.learn()
    assert school.memories(Kind.SUCCESS) == ()
    school.factory.on.clear()
    school.run(name="orders")
    school.learn()
    assert school.memory(Kind.SUCCESS).facts["rate"] == 0.8


def test_a_cancelled_run_shows_neither(school: School):
    run = school.factory.request(inputs={"name": "orders"})
    school.factory.admit(run)
    cancel_run(school.factory.store, school.factory.clock, TENANT, run.id, "ada")
    school.learn()
    assert school.memory(Kind.RUN).outcome == "cancelled"
    assert {one.subject[:5] for one in school.observations()} == {"line-"}


# --- what teaches nothing


@pytest.mark.parametrize(
    "changes", [{"undoes": "run-other"}, {"plan": None, "status": RunStatus.FAILED}]
)
def test_runs_that_undo_and_requests_that_were_refused_teach_nothing(
    factory: SmallFactory, changes: dict[str, Any]
):
    run = a_run(**{"status": RunStatus.SUCCEEDED, "plan": Body(inline={}), **changes})
    school = learned(factory, run)
    assert (school.observations(), school.memories(Kind.RUN)) == ((), ())


@pytest.mark.parametrize("scope", ForgetScope)
def test_what_was_forgotten_is_not_learned_again(school: School, scope: ForgetScope):
    school.factory.on["b"] = fails(NO, times=1)
    run = school.run(name="orders")
    keys = {ForgetScope.RUN: run.id, ForgetScope.PROJECT: run.project_id, ForgetScope.TENANT: ""}
    with school.factory.store.begin(TENANT) as tx:
        tx.add_forgotten(Forgotten(TENANT, scope, keys[scope], school.factory.clock.at))
    school.learn()
    assert (school.observations(), school.memories(Kind.RUN)) == ((), ())
    school.again(run)
    school.learn()
    # The cycle that came after is learned, and nothing of the one before.
    assert {one.cycle for one in school.observations()} == {1}
    assert school.memories(Kind.FAILURE) == ()
    assert school.memory(Kind.RUN).outcome == "succeeded"


# --- templates


def test_versions_of_a_template_that_come_out_of_order_stand_behind_the_newest(
    factory: SmallFactory,
):
    versions = ("1.10.0", "1.2.0", "1.9.0")
    with factory.store.begin(TENANT) as tx:
        for number, version in enumerate(versions):
            record = a_template_record(version=version, published_at=after(number))
            tx.register_template(record)
    school = School(factory)
    for version in versions[::-1]:
        payload = {"template_id": "microservice", "version": version}
        school.learner.learn_template(a_message(topic=MEMORY_OF_TEMPLATE, payload=payload))
    by = {one.template_version: one for one in school.memories(Kind.TEMPLATE)}
    newest = by["1.10.0"].id
    assert {version: by[version].superseded_by for version in versions} == {
        "1.10.0": None,
        "1.2.0": newest,
        "1.9.0": newest,
    }


def test_a_template_that_is_not_in_the_store_is_asked_for_once(factory: SmallFactory):
    message = a_message(payload={"template_id": "none", "version": "1"})
    with pytest.raises(GivenUpError, match="none"):
        School(factory).learner.learn_template(message)


# --- bad input


def learned(factory: SmallFactory, run: Any, jobs: Any = (), letters: Any = ()) -> School:
    """Of a run that stands in the store so, and whose template and plan nobody has."""
    with factory.store.begin(TENANT) as tx:
        tx.add_run(run, jobs)
        for letter in letters:
            tx.add_dead_letter(letter)
    school = School(factory)
    school.learn([a_message(payload={"run_id": run.id})])
    return school


def test_many_kinds_of_failure_in_a_thousand_jobs_are_learned_in_bounds(
    factory: SmallFactory,
):
    run = a_run(status=RunStatus.FAILED, plan=Body(inline={}), completed_at=NOON)
    failed = {"status": JobStatus.FAILED, "completed_at": NOON, "attempt": 1}
    jobs = [
        a_job(run, step=f"build[{n}]", position=n, error="e" * 200, **failed) for n in range(1_200)
    ]
    letters = [
        a_letter(job, fingerprint=f"{n % 120:064x}", error="e\ud800" * 100)
        for n, job in enumerate(jobs[:240])
    ]
    school = learned(factory, run, jobs, letters)
    memories = school.memories(Kind.FAILURE)
    assert (len(memories), len(school.observations())) == (100, 202)
    assert {memory.facts["jobs"] for memory in memories} == {2}
    memory = school.memory(Kind.RUN)
    assert memory.facts["job_count"] == 1_200
    assert len(everything_in(memory)) < 100_000


def test_inputs_of_a_megabyte_an_error_of_one_and_half_characters_are_learned(
    factory: SmallFactory,
):
    inputs = {"text": "long words " * 100_000, "\ud800": "\udfff", "deep": [[[{"a": ["b"]}]]]}
    run = a_run(
        status=RunStatus.FAILED,
        plan=Body(inline={}),
        completed_at=NOON,
        inputs=Body(inline=inputs),
        error="x " * 500_000,
    )
    job = a_job(run, step="a", status=JobStatus.FAILED, error="\ud800 no", completed_at=NOON)
    school = learned(factory, run, [job], [a_letter(job, error="no " * 400_000)])
    assert school.memory(Kind.RUN).outcome == "failed"
    subject = school.memory(Kind.FAILURE).id
    (failed,) = (one for one in school.observations() if one.subject == subject)
    assert len(json.dumps(failed.facts)) < 2000
    everything_in(school.memory(Kind.FAILURE)).encode()


def test_a_run_whose_template_plan_and_inputs_are_gone_is_learned_from_what_is_left(
    school: School,
):
    school.factory.on["b"] = fails(NO)
    school.run(name="orders")
    storage = school.factory.storage
    school.learner = replace(school.learner, storage=type(storage)())
    school.learn()
    assert school.memory(Kind.FAILURE).facts["error_code"] == "host-rejected"
    assert school.memory(Kind.RUN).facts["jobs"][0]["status"] == "Succeeded"
