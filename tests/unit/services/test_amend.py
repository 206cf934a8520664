"""Sending a failed run round again with other inputs, more time, or a newer template."""

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
    TemplateChangedError,
    UnknownTemplateError,
)
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import checkpoints
from factory_runtime.services.bodies import from_body
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.plans import read_plan
from factory_runtime.services.retry_run import plan_round, retry_job, retry_run
from tests.builders import TENANT
from tests.small_factory import Act, SmallFactory, fails, gives, steps

NO = ValueError("no")


class ActsAsPaint(Act):
    """Another type, of the same version."""

    facts = replace(Act.facts, name="paint")


INPUTS = (
    "inputs: {type: object, properties: {"
    "text: {type: string, default: hello}, other: {type: string, default: hi},"
    " number: {type: integer, default: 1, maximum: 9},"
    " things: {type: array, items: {type: string}, default: []}, any: {default: 1}}}\n"
)


def run_through(factory: SmallFactory, run: Run) -> Run:
    walk = factory.take_up(run)
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    return ended


def failed(factory: SmallFactory, *lines: str, inputs: Any = None, more: str = "") -> Run:
    factory.template(INPUTS + steps(*lines) + more)
    run = run_through(factory, factory.request(inputs=inputs))
    assert run.status is RunStatus.FAILED
    return run


def again(factory: SmallFactory, run: Run, step: str | None = None, **change: Any) -> Run:
    asked = Change(**change)
    if step is None:
        return retry_run(
            factory.store, factory.clock, TENANT, run.id, "bob", change=asked, desk=factory.desk
        )
    return retry_job(
        factory.store, factory.clock, TENANT, run.id, step, "bob", change=asked, desk=factory.desk
    )


def statuses(factory: SmallFactory, run: Run) -> dict[str, str]:
    return {name: job.skip_reason or job.status for name, job in factory.jobs(run).items()}


def outputs(factory: SmallFactory, run: Run, step: str) -> Any:
    return from_body(factory.storage, TENANT, factory.jobs(run)[step].outputs)


def untouched(factory: SmallFactory, run: Run, before: Any) -> bool:
    """Whether the job is as it ended, but for its place in the plan."""
    job = factory.jobs(run)[before.step]
    facts = ("attempt", "fencing_token", "status", "completed_at", "outputs", "started_at")
    return all(getattr(job, name) == getattr(before, name) for name in facts)


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


# --- what would not fit


def test_a_job_that_succeeded_with_another_input_is_named_with_it(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    run = failed(
        factory,
        "a: with: {text: '${{ inputs.text }}'}",
        "b: with: {text: 'x-${{ inputs.text }}', number: '${{ inputs.number }}'}",
        "same: with: {text: '${{ inputs.other }}'}",
        "z: needs: [a]",
    )
    before = factory.jobs(run)
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, inputs={"text": "new", "number": 2})
    assert [problem.message for problem in refused.value.problems] == [
        "a: would be given another text (input text)",
        "b: would be given another number (input number)",
        "b: would be given another text (input text)",
    ]
    assert (factory.run(run), factory.jobs(run)) == (run, before)


def test_what_is_written_otherwise_and_means_the_same_fits(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    factory.template(INPUTS + steps("a: with: {text: '${{ inputs.text }}'}", "z:"))
    run = run_through(factory, factory.request())
    factory.template(INPUTS + steps("a: with: {text: hello}", "z:"), version="1.1.0")
    del factory.on["z"]
    again(factory, run, template_version="1.1.0")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_one_is_not_the_same_as_yes(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    painted = "  - {name: a, type: paint, with: {source: files, data: {x: '${{ inputs.any }}'}}}\n"
    run = failed(factory, "z:", more=painted)
    with pytest.raises(InvalidInputsError, match="would not fit"):
        again(factory, run, inputs={"any": True})


def test_an_item_that_succeeded_must_not_go_from_the_list(factory: SmallFactory):
    factory.on["do[b]"] = fails(NO)
    run = failed(
        factory,
        "do: each: '${{ inputs.things }}', with: {text: '${{ item }}'}",
        inputs={"things": ["a", "b"]},
    )
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, inputs={"things": ["b"]})
    (problem,) = refused.value.problems
    assert problem.message == "do[a]: would not be there (input things)"


def test_an_item_that_failed_may_go_and_others_come(factory: SmallFactory):
    factory.on["do[b]"] = fails(NO)
    run = failed(
        factory,
        "first:",
        "do: each: '${{ inputs.things }}', needs: [first], with: {text: '${{ item }}'}",
        "last: needs: [do]",
        inputs={"things": ["a", "b"]},
    )
    before = factory.jobs(run)
    again(factory, run, inputs={"things": ["c", "a"]})
    assert statuses(factory, run) == {
        "first": "Succeeded",
        "do[c]": "Pending",
        "do[a]": "Succeeded",
        "last": "Pending",
        "do[b]": SkipReason.NOT_PLANNED,
    }
    assert list(factory.jobs(run)) == ["first", "do[c]", "do[a]", "last", "do[b]"]
    assert len({job.id for job in factory.jobs(run).values()}) == 5
    assert factory.moves(run, "do[b]")[-3:] == ["Failed", "Pending", "Skipped"]
    ended = run_through(factory, run)
    assert (ended.status, statuses(factory, run)["last"]) == (RunStatus.SUCCEEDED, "Succeeded")
    assert untouched(factory, run, before["do[a]"])
    assert untouched(factory, run, before["first"])


def test_a_job_that_is_planned_again_goes_round_again(factory: SmallFactory):
    factory.on |= {"do[b]": fails(NO), "do[c]": fails(NO)}
    line = "do: each: '${{ inputs.things }}', with: {text: '${{ item }}'}"
    run = failed(factory, line, inputs={"things": ["b"]})
    again(factory, run, inputs={"things": ["c"]})
    assert run_through(factory, run).status is RunStatus.FAILED
    assert statuses(factory, run) == {"do[c]": "Failed", "do[b]": SkipReason.NOT_PLANNED}
    factory.on.clear()
    again(factory, run, inputs={"things": ["b", "c"]})
    assert statuses(factory, run) == {"do[b]": "Pending", "do[c]": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_what_reads_a_step_that_has_still_to_give_does_not_fit(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    run = failed(
        factory,
        'maybe: when: "${{ inputs.number == 2 }}", with: {text: new}',
        "a: needs: [maybe], with: {text: \"${{ steps.maybe.outputs.text | default('old') }}\"}",
        "z: needs: [a]",
    )
    assert statuses(factory, run)["maybe"] == SkipReason.CONDITION
    with pytest.raises(InvalidInputsError, match="would not fit") as refused:
        again(factory, run, inputs={"number": 2})
    (problem,) = refused.value.problems
    assert problem.message == "a: its text reads what step maybe has still to give"


def test_a_condition_is_looked_at_anew_under_changed_inputs(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    run = failed(
        factory,
        "known: when: '${{ inputs.number == 2 }}'",
        "later: needs: [a], when: \"${{ inputs.number == 2 and steps.a.outputs.text == 'hi' }}\"",
        "never: when: '${{ inputs.number == 3 }}'",
        "a: with: {text: hi}",
        "z:",
    )
    skipped = [step for step, why in statuses(factory, run).items() if why == "condition"]
    assert sorted(skipped) == ["known", "later", "never"]
    del factory.on["z"]
    again(factory, run, inputs={"number": 2})
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {
        **dict.fromkeys(("a", "z", "known", "later"), "Succeeded"),
        "never": "condition",
    }
    assert factory.moves(run, "never") == ["Skipped"]


@pytest.mark.parametrize(
    "condition",
    ["inputs.number == 1", "inputs.number == 1 and steps.first.outputs.text == 'hi'"],
    ids=["known when compiling", "known when it runs"],
)
def test_what_succeeded_must_not_be_skipped_now(factory: SmallFactory, condition: str):
    factory.on["z"] = fails(NO)
    run = failed(
        factory,
        "first: with: {text: hi}",
        f'a: needs: [first], when: "${{{{ {condition} }}}}"',
        "z:",
    )
    assert statuses(factory, run)["a"] == "Succeeded"
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, inputs={"number": 2})
    (problem,) = refused.value.problems
    assert problem.message == "a: its condition would not hold (input number)"
    again(factory, run, inputs={"text": "new"})


def test_what_a_failed_job_left_outside_keeps_its_inputs(factory: SmallFactory):
    def leaves(context: JobContext, _with: Any) -> Any:
        context.intend("thing", "a thing")
        raise NO

    factory.on["a"] = leaves
    factory.on["b"] = fails(NO)
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}", "b:")
    with factory.store.begin(TENANT) as tx:
        tx.confirm_effect(f"{run.id}:a", "thing", "thing-1", factory.clock.at)
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, inputs={"text": "new"})
    (problem,) = refused.value.problems
    assert problem.message == "a: would be given another text, and has left a thing (input text)"
    factory.on.clear()
    again(factory, run, inputs={"other": "new"})
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


# --- versions


def test_a_run_goes_on_with_a_newer_version_of_its_template(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = failed(factory, "a: with: {text: x}", "b: needs: [a]", "c: needs: [b]")
    before = factory.jobs(run)["a"]
    factory.template(
        INPUTS
        + steps(
            "zero:",
            "a: with: {text: x}",
            "mended: needs: [a], with: {text: y}",
            "c: needs: [mended]",
        )
        + "outputs: {said: '${{ steps.mended.outputs.text }}'}",
        version="1.1.0",
    )
    queued = again(factory, run, template_version="1.1.0")
    assert queued.template_version == "1.1.0"
    assert queued.template_digest != run.template_digest
    assert statuses(factory, run) == {
        "zero": "Pending",
        "a": "Succeeded",
        "mended": "Pending",
        "c": "Pending",
        "b": SkipReason.NOT_PLANNED,
    }
    ended = run_through(factory, run)
    assert ended.status is RunStatus.SUCCEEDED
    assert from_body(factory.storage, TENANT, ended.outputs) == {"said": "y"}
    assert untouched(factory, run, before)
    assert [attempt.number for attempt in factory.attempts(run, "a")] == [1]
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert [record.version for record in tx.list_templates()] == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("b:", "a: template demo 1.1.0 has no such step"),
        ("a: with: {text: y}", "a: would be given another text"),
        ("a: with: {text: x, number: 1}", "a: would be given another number"),
        ("a: with: {text: '${{ run.version }}'}", "a: would be given another text"),
    ],
)
def test_a_version_that_would_do_otherwise_what_succeeded_is_refused(
    factory: SmallFactory, line: str, why: str
):
    factory.on["z"] = fails(NO)
    run = failed(factory, "a: with: {text: x}", "z:")
    factory.template(INPUTS + steps(line, "z:"), version="1.1.0")
    with pytest.raises(
        ConflictError, match=r"1 job of .* would not fit what was changed"
    ) as refused:
        again(factory, run, template_version="1.1.0")
    assert why in str(refused.value)
    assert factory.run(run) == run


def test_a_job_that_succeeded_cannot_become_one_of_another_type(factory: SmallFactory):
    factory.on["z"] = fails(NO)
    run = failed(factory, "a:", "z:")
    painted = "  - {name: a, type: paint, with: {source: files}}\n"
    factory.template(INPUTS + steps("z:") + painted, version="1.1.0")
    with pytest.raises(ConflictError, match="a: would be of type paint in place of act"):
        again(factory, run, template_version="1.1.0")


def test_a_version_that_is_not_there_is_refused(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    with pytest.raises(UnknownTemplateError, match=r"no version 9\.9\.9"):
        again(factory, run, template_version="9.9.9")
    assert factory.run(run) == run


def test_other_inputs_are_for_the_version_that_the_run_has(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a: with: {number: '${{ inputs.number }}'}")
    factory.template("steps:\n  - {name: b, type: act}\n", version="2.0.0")
    del factory.on["a"]
    again(factory, run, inputs={"number": 2})
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert outputs(factory, run, "a") == {"number": 2}
    assert factory.run(run).template_version == "1.0.0"


def test_other_inputs_need_the_version_that_the_run_has(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    factory.storage.delete(TENANT, run.template_digest)  # an older release kept no templates
    factory.template(INPUTS + steps("a:"), version="2.0.0")
    with pytest.raises(UnknownTemplateError) as refused:
        again(factory, run, inputs={"number": 2})
    assert "--template-version" in (refused.value.hint or "")
    again(factory, run, inputs={"number": 2}, template_version="2.0.0")


def test_a_version_that_was_edited_is_not_the_one_that_the_run_has(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    factory.storage.delete(TENANT, run.template_digest)
    factory.template(INPUTS + steps("a:", "b:"))
    with pytest.raises(TemplateChangedError, match="no longer what run"):
        again(factory, run, inputs={"number": 2})


def test_a_version_that_another_run_began_otherwise_is_refused_whole(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = failed(factory, "a:")
    factory.template(INPUTS + steps("a:", "b:"), version="1.1.0")
    factory.request()
    factory.template(INPUTS + steps("a:", "c:"), version="1.1.0")
    before = factory.jobs(run)
    with pytest.raises(TemplateChangedError):
        again(factory, run, template_version="1.1.0")
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


@settings(deadline=None, max_examples=20)
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
