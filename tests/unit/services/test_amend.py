"""Sending a failed run round again with other inputs, or with more time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    InputError,
    InvalidInputsError,
)
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import checkpoints
from factory_runtime.services.bodies import from_body
from factory_runtime.services.plans import read_plan
from factory_runtime.services.retry_run import plan_round
from tests.amending import INPUTS, again, failed, outputs
from tests.builders import TENANT
from tests.rounds import NO, run_through, statuses
from tests.small_factory import Act, SmallFactory, fails, gives, steps


class ActsAsPaint(Act):
    """Another type, of the same version."""

    facts = replace(Act.facts, name="paint")


# --- inputs


def test_a_run_goes_on_with_other_inputs_and_keeps_what_succeeded(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = failed(
        factory,
        "a: with: {text: '${{ inputs.text }}'}",
        "b: needs: [a], with: {text: '${{ inputs.other }}'}",
        "c: needs: [b], with: {text: '${{ steps.b.outputs.text }}'}",
    )
    before, digest = factory.jobs(run)["a"], run.plan
    del factory.on["b"]
    factory.clock.pass_time()
    queued = again(factory, run, inputs={"other": "changed"})
    assert (queued.status, queued.cycle) == (RunStatus.QUEUED, 1)
    assert from_body(factory.storage, TENANT, queued.inputs) == {
        "text": "hello", "other": "changed", "number": 1, "things": [], "any": 1,
    }  # fmt: skip
    assert queued.inputs_digest == digest_of(from_body(factory.storage, TENANT, queued.inputs))
    assert queued.plan != digest
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert factory.jobs(run)["a"] == before
    assert outputs(factory, run, "b") == outputs(factory, run, "c") == {"text": "changed"}


def test_the_history_says_what_was_changed_and_keeps_the_plan_before(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}")
    assert run.plan is not None
    assert run.plan.reference is not None
    again(factory, run, inputs={"text": "new"})
    wanted = {
        "by": "bob",
        "cycle": 1,
        "inputs": ["text"],
        "plan_before": run.plan.reference.digest,
        "change": digest_of([{"text": "new"}, None, None]),
    }
    assert factory.events(run, "run")[-1].detail == wanted
    with factory.store.begin(TENANT, read_only=True) as tx:
        entry = tx.list_audit(subject=run.id)[0]
    assert (entry.actor, entry.action) == ("bob", "run.retry")
    assert entry.detail == {key: value for key, value in wanted.items() if key != "by"}


def test_an_input_that_is_taken_away_has_its_default_again(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}", inputs={"text": "mine"})
    queued = again(factory, run, inputs={"text": None, "number": 2})
    inputs = from_body(factory.storage, TENANT, queued.inputs)
    assert (inputs["text"], inputs["number"]) == ("hello", 2)


def test_inputs_that_do_not_validate_change_nothing_and_all_are_named(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    before = factory.jobs(run)
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, inputs={"number": 99, "text": 5, "unheard": 1})
    assert len(refused.value.problems) == 3
    assert (factory.run(run), factory.jobs(run)) == (run, before)


# --- time


def test_more_time_is_for_the_jobs_that_go_round_again_alone(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = failed(factory, "a:", "b: needs: [a]", "c: needs: [b]")
    old = read_plan(factory.storage, run)
    queued = again(factory, run, timeout_seconds=7200)
    plan = read_plan(factory.storage, queued)
    assert [job.timeout for job in plan.jobs] == [
        old.jobs[0].timeout,
        timedelta(hours=2),
        timedelta(hours=2),
    ]
    assert (queued.inputs_digest, queued.template_digest) == (
        run.inputs_digest,
        run.template_digest,
    )


def test_time_that_was_given_stays_when_inputs_change_later(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:", "b: with: {text: '${{ inputs.text }}'}, needs: [a]")
    again(factory, run, timeout_seconds=7200)
    run_through(factory, run)
    queued = again(factory, run, inputs={"text": "new"})
    assert {job.timeout for job in read_plan(factory.storage, queued).jobs} == {timedelta(hours=2)}


@pytest.mark.parametrize("seconds", [0, -1, 1e300, float("nan"), float("inf")])
def test_a_timeout_is_some_time(factory: SmallFactory, seconds: float):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    with pytest.raises(InputError, match="no timeout"):
        again(factory, run, timeout_seconds=seconds)
    assert factory.run(run) == run


# --- one job


def test_a_changed_retry_of_one_job_leaves_what_failed_elsewhere(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "x": fails(NO)}
    run = failed(
        factory, "a: with: {text: '${{ inputs.text }}'}", "b: needs: [a]", "x:", "y: needs: [x]"
    )
    del factory.on["a"]
    again(factory, run, "a", inputs={"text": "new"})
    ended = run_through(factory, run)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "failed: x")
    assert statuses(factory, run) == {
        "a": "Succeeded", "b": "Succeeded", "x": "Failed", "y": "need-failed",
    }  # fmt: skip


# --- what is not changed, and what cannot be


def test_what_changes_nothing_keeps_the_plan(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = failed(factory, "a:", "b: needs: [a]", "c: needs: [b]")
    changes = [
        Change(),
        Change(inputs={}),
        Change(inputs={"number": 1}),
        Change(template_version="1.0.0"),
    ]
    for change in changes:
        round_ = plan_round(factory.store, TENANT, run.id, change=change, desk=factory.desk)
        assert {job.step for job in round_.again} == {"b", "c"}
        if round_.amended is not None:
            assert round_.amended.run_changes["plan"] == run.plan
            assert round_.amended.again == {"b", "c"}
            assert not round_.amended.added
            assert "plan_before" not in round_.amended.detail


@settings(max_examples=20)
@given(
    text=st.text(st.characters(exclude_categories=["C"]), max_size=5),
    number=st.integers(-9, 9),
    things=st.lists(st.sampled_from("abcdef"), unique=True),
    given_anew=st.sets(st.sampled_from(["text", "number", "things"])),
)
def test_the_same_inputs_are_the_same_plan(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    number: int,
    things: list[str],
    given_anew: set[str],
):
    factory = SmallFactory(tmp_path_factory.mktemp("same"))
    inputs = {"text": text, "number": number, "things": things}
    factory.on["z"] = fails(NO)
    run = failed(
        factory,
        "a: with: {text: '${{ inputs.text }}', number: '${{ inputs.number }}'}",
        "do: needs: [a], each: '${{ inputs.things }}', with: {text: '${{ item }}'}",
        "z: needs: [do]",
        inputs=inputs,
    )
    same = {name: inputs[name] for name in given_anew}
    queued = again(factory, run, inputs=same)
    assert (queued.plan, queued.inputs, queued.inputs_digest) == (
        run.plan, run.inputs, run.inputs_digest,
    )  # fmt: skip
    factory.store.close()


def test_of_two_changed_retries_one_is_made(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}")
    again(factory, run, inputs={"text": "first"})
    with pytest.raises(IllegalTransitionError):
        again(factory, run, inputs={"text": "second"})
    assert from_body(factory.storage, TENANT, factory.run(run).inputs)["text"] == "first"


def test_a_run_that_is_to_be_undone_is_not_retried(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    with factory.store.begin(TENANT) as tx:
        tx.save_run(run, run.changed(factory.clock.at, undo_requested_by="eve"))
    with pytest.raises(ConflictError, match="is being undone for eve"):
        again(factory, run)


def test_a_run_that_undoes_another_gets_more_time_and_nothing_else(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    with factory.store.begin(TENANT) as tx:
        tx.save_run(run, run.changed(factory.clock.at, undoes="run-of-old"))
    changes: list[dict[str, Any]] = [{"inputs": {"number": 2}}, {"template_version": "1.0.0"}]
    for change in changes:
        with pytest.raises(InputError, match="undoes run-of-old"):
            again(factory, run, **change)
    assert again(factory, run, timeout_seconds=60).cycle == 1


# --- failures that the run went on without


def test_a_retried_run_leaves_alone_what_it_went_on_without(factory: SmallFactory):
    factory.on |= {"docs": fails(NO), "main": fails(NO), "b": fails(NO)}
    run = failed(
        factory,
        "docs: on_failure: continue",
        "main: on_failure: {fallback: spare}",
        "spare:",
        "b: needs: [docs, main]",
    )
    before = factory.jobs(run)
    del factory.on["b"]
    again(factory, run)
    assert statuses(factory, run) == {
        "docs": "Failed", "main": "Failed", "spare": "Succeeded", "b": "Pending",
    }  # fmt: skip
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert (factory.jobs(run)["docs"], factory.jobs(run)["main"]) == (
        before["docs"],
        before["main"],
    )


def test_what_a_run_went_on_without_goes_again_where_it_is_named(factory: SmallFactory):
    factory.on |= {"docs": fails(NO), "b": fails(NO)}
    run = failed(factory, "docs: on_failure: continue", "b:")
    factory.on.clear()
    again(factory, run, "docs")
    assert statuses(factory, run) == {"docs": "Pending", "b": "Failed"}


def test_what_the_new_version_would_not_go_on_without_goes_again(factory: SmallFactory):
    factory.on |= {"docs": fails(NO), "b": fails(NO)}
    run = failed(factory, "docs: on_failure: continue", "b:")
    factory.template(INPUTS + steps("docs:", "b:"), version="1.1.0")
    factory.on.clear()
    again(factory, run, template_version="1.1.0")
    assert statuses(factory, run) == {"docs": "Pending", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("inputs", "by_older_release", "whole"),
    [
        ({"other": "new"}, False, "half of hello and half of hello"),
        ({"text": "new"}, False, "half of new and half of new"),
        ({"text": "new"}, True, "half of hello and half of new"),
    ],
)
def test_a_job_that_is_given_something_else_does_not_go_on_from_its_checkpoint(
    factory: SmallFactory, inputs: dict[str, Any], by_older_release: bool, whole: str
):
    def halves(context: JobContext, with_: Any) -> Any:
        half = f"half of {with_['text']}"
        state = context.checkpoint()
        if state is None:
            context.save_checkpoint({"half": half})
        if context.facts.attempt == 1:
            raise NO
        return gives(whole=f"{half if state is None else state['half']} and {half}")(context, with_)

    factory.on["a"] = halves
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}")
    if by_older_release:
        forget_digest(factory, run)
    again(factory, run, inputs=inputs)
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert outputs(factory, run, "a") == {"whole": whole}
    said = [str(event.detail["message"]) for event in factory.events(run, "log")]
    assert any("of other inputs" in line for line in said) == (whole.startswith("half of new"))


def forget_digest(factory: SmallFactory, run: Run) -> None:
    """As a release wrote the checkpoint that knew of no digest."""
    assert isinstance(factory.store, SqlRunStore)
    with factory.store.engine.begin() as connection:
        connection.execute(update(checkpoints).values(with_digest=None))


def test_a_failed_job_of_another_type_does_not_go_on_from_its_checkpoint(factory: SmallFactory):
    seen: list[Any] = []

    def gives_up(context: JobContext, _with: Any) -> Any:
        context.save_checkpoint({"done": 5})
        raise NO

    def looks(context: JobContext, with_: Any) -> Any:
        seen.append(context.checkpoint())
        return gives()(context, with_)

    factory.on["a"] = gives_up
    run = failed(factory, "a:")
    painted = "steps:\n  - {name: a, type: paint, with: {source: files}}\n"
    factory.template(INPUTS + painted, version="1.1.0")
    factory.on["a"] = looks
    factory.job_types["paint"] = ActsAsPaint(factory.on)
    again(factory, run, template_version="1.1.0")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert factory.jobs(run)["a"].status is JobStatus.SUCCEEDED
    assert seen == [None]
