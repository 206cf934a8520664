"""Sending a failed run round again: what would not fit what succeeded, and newer templates."""

from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.domain.errors import (
    ConflictError,
    InvalidInputsError,
    TemplateChangedError,
    UnknownTemplateError,
)
from factory_runtime.domain.job import SkipReason
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.bodies import from_body
from tests.amending import INPUTS, again, failed, outputs
from tests.builders import TENANT
from tests.rounds import NO, run_through, statuses
from tests.small_factory import SmallFactory, fails, steps


def untouched(factory: SmallFactory, run: Run, before: Any) -> bool:
    """Whether the job is as it ended, but for its place in the plan."""
    job = factory.jobs(run)[before.step]
    facts = ("attempt", "fencing_token", "status", "completed_at", "outputs", "started_at")
    return all(getattr(job, name) == getattr(before, name) for name in facts)


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
