"""What becomes of dead letters where their run goes round with a changed plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import Change, DeadLetter, LetterFilter, LetterStatus
from factory_runtime.domain.errors import ConflictError, HostRejectedError
from factory_runtime.domain.ids import canonical_json
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.retry_run import retry_run
from tests.builders import TENANT
from tests.small_factory import SmallFactory, fails, steps
from tests.unit.services.test_letters import letters, run_through

REFUSED = HostRejectedError("the host refuses it")
INPUTS = (
    "inputs: {type: object, properties: {text: {type: string, default: hello},"
    " things: {type: array, items: {type: string}, default: [b, c]}}}\n"
)
EACH = "do: each: '${{ inputs.things }}', with: {text: '${{ item }}'}"
CHANGED = {"inputs": ["text"], "timeout_seconds": 60.0}


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the databases."""
    return SmallFactory(tmp_path / "templates", database_store)


def failed(factory: SmallFactory, line: str, *more: str, jobs: tuple[str, ...]) -> Run:
    """A run of which these jobs failed; from now on they succeed."""
    factory.template(INPUTS + steps(line, *more))
    factory.on |= {job: fails(REFUSED) for job in jobs}
    run = run_through(factory, factory.request())
    assert run.status is RunStatus.FAILED
    factory.on.clear()
    return run


def again(factory: SmallFactory, run: Run, **change: Any) -> Run:
    asked = Change(**change)
    return retry_run(
        factory.store, factory.clock, TENANT, run.id, "bob", change=asked, desk=factory.desk
    )


def redriver(factory: SmallFactory) -> Redriver:
    return Redriver(factory.store, factory.clock, factory.desk)


def by_step(factory: SmallFactory) -> dict[str, LetterStatus]:
    return {letter.step: letter.status for letter in letters(factory)}


def letter_at(factory: SmallFactory, step: str) -> DeadLetter:
    (letter,) = (letter for letter in letters(factory) if letter.step == step)
    return letter


def facts_of(factory: SmallFactory, subject: str) -> dict[str, Any]:
    """What the newest line of the audit says of it."""
    with factory.store.begin(TENANT, read_only=True) as tx:
        return dict(tx.list_audit(subject=subject)[0].detail)


def test_letters_of_jobs_that_a_changed_plan_decides_anew_go_round(factory: SmallFactory):
    run = failed(factory, "docs: on_failure: continue", "b:", jobs=("docs", "b"))
    factory.template(INPUTS + steps("docs:", "b:"), version="1.1.0")
    again(factory, run, template_version="1.1.0")
    assert by_step(factory) == dict.fromkeys(("docs", "b"), LetterStatus.REDRIVEN)
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert by_step(factory) == dict.fromkeys(("docs", "b"), LetterStatus.RESOLVED)
    assert {letter.reason for letter in letters(factory)} == {None}


def test_a_letter_of_a_job_that_is_no_longer_planned_is_closed(factory: SmallFactory):
    run = failed(factory, EACH, jobs=("do[b]", "do[c]"))
    again(factory, run, inputs={"things": ["c", "d"]})
    assert by_step(factory) == {"do[b]": LetterStatus.CARRIED, "do[c]": LetterStatus.REDRIVEN}
    factory.on["do[c]"] = fails(REFUSED)
    assert run_through(factory, run).status is RunStatus.FAILED
    closed = letter_at(factory, "do[b]")
    assert (closed.status, closed.reason) == (
        LetterStatus.CARRIED, "the plan of cycle 1 has no such job",
    )  # fmt: skip
    assert by_step(factory)["do[c]"] is LetterStatus.OPEN


def test_a_letter_may_go_round_with_a_plan_that_has_no_job_of_it(factory: SmallFactory):
    run = failed(factory, EACH, jobs=("do[b]",))
    letter = letter_at(factory, "do[b]")
    redriver(factory).redrive(TENANT, letter.id, "bob", Change(inputs={"things": ["c"]}))
    assert by_step(factory) == {"do[b]": LetterStatus.CARRIED}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    with pytest.raises(ConflictError, match="the plan of cycle 1 has no such job"):
        redriver(factory).redrive(TENANT, letter.id, "bob")


def test_a_letter_of_no_job_goes_ahead_of_no_others(factory: SmallFactory):
    run = failed(factory, EACH, jobs=("do[b]",))
    where = LetterFilter(fingerprint=letter_at(factory, "do[b]").fingerprint)
    change = Change(inputs={"things": ["c"]})
    with pytest.raises(ConflictError, match="has no such job"):
        redriver(factory).order(TENANT, where, "bob", change, canary=True)
    assert by_step(factory) == {"do[b]": LetterStatus.OPEN}
    assert factory.run(run) == run


# --- the audit


def test_the_audit_names_what_was_changed_and_keeps_no_value_of_it(factory: SmallFactory):
    run = failed(factory, "a: with: {text: '${{ inputs.text }}'}", jobs=("a",))
    letter = letter_at(factory, "a")
    change = Change(inputs={"text": "hunter2"}, timeout_seconds=60.0)
    redriver(factory).redrive(TENANT, letter.id, "bob", change)
    told = facts_of(factory, letter.id)
    assert {name: told.get(name) for name in CHANGED} == CHANGED
    assert told["change"] == change.told()["change"]
    with factory.store.begin(TENANT, read_only=True) as tx:
        history = [event.detail for event in tx.list_events(run.id)]
        audit = [entry.detail for entry in tx.list_audit()]
    assert "hunter2" not in canonical_json([history, audit])


def test_the_audit_of_an_order_names_what_it_changes_and_keeps_no_value_of_it(
    factory: SmallFactory,
):
    failed(factory, "a: with: {text: '${{ inputs.text }}'}", jobs=("a",))
    change = Change(inputs={"text": "hunter2"}, timeout_seconds=60.0)
    where = LetterFilter(fingerprint=letter_at(factory, "a").fingerprint)
    order = redriver(factory).order(TENANT, where, "bob", change, canary=True)
    told = facts_of(factory, order.id)["change"]
    assert {name: told.get(name) for name in CHANGED} == CHANGED
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert "hunter2" not in canonical_json([entry.detail for entry in tx.list_audit()])


def test_a_change_is_told_apart_from_another_by_its_digest():
    one, other = Change(inputs={"a": 1}), Change(inputs={"a": 2})
    assert one.told()["inputs"] == other.told()["inputs"] == ["a"]
    assert one.told()["change"] != other.told()["change"]
    assert Change(inputs={"a": 1}).told() == one.told()
    assert Change().told() == {}
