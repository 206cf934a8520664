"""What becomes a dead letter, and what becomes of it with its run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus
from factory_runtime.domain.errors import (
    ApprovalDeniedError,
    CancelledError,
    HostRejectedError,
    StorageFullError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.bodies import from_body
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.retry_run import retry_job, retry_run
from factory_runtime.services.take_back import LOSSES
from factory_runtime.services.topics import NOTICE
from tests.faults import FaultyStorage
from tests.small_factory import THRICE, SmallFactory, busy, fails, steps

REFUSED = HostRejectedError("the host refuses 'orders' with HTTP 403", hint="ask its owner")


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    """A factory on each of the databases."""
    return SmallFactory(tmp_path / "templates", database_store)


def letters(
    factory: SmallFactory, run: Run | None = None, *statuses: LetterStatus
) -> list[DeadLetter]:
    """Of the run, or all; in these statuses, or in any."""
    where = LetterFilter(run_id=run and run.id, statuses=statuses)
    with factory.store.begin("acme", read_only=True) as tx:
        return list(tx.list_dead_letters(where, limit=1000))


def letter_of(factory: SmallFactory, run: Run) -> DeadLetter:
    (letter,) = letters(factory, run)
    return letter


def run_through(factory: SmallFactory, run: Run) -> Run:
    walk = factory.take_up(run, f"flow-{run.id}")
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    factory.clock.pass_time()
    return ended


def completed(factory: SmallFactory, text: str, **values: Any) -> Run:
    factory.template(text)
    return run_through(factory, factory.request(**values))


def again(factory: SmallFactory, run: Run) -> Run:
    retry_run(factory.store, factory.clock, run.tenant_id, run.id, "grace")
    return run_through(factory, run)


def notices(factory: SmallFactory) -> list[dict[str, Any]]:
    told = [dict(message.payload) for message in factory.messages(NOTICE)]
    return [notice for notice in told if notice["kind"] == "dead-letter"]


# --- what is buried


def test_a_job_out_of_attempts_is_buried_with_all_that_a_person_needs(
    factory: SmallFactory,
) -> None:
    def behaviour(context: JobContext, with_: Any) -> JobResult:
        context.save_checkpoint({"done": [context.facts.attempt]})
        raise busy()

    factory.on["a"] = behaviour
    run = completed(factory, steps(f"a: with: {{text: hello}}, {THRICE}"))
    letter = letter_of(factory, run)
    assert run.status is RunStatus.FAILED
    assert (letter.run_id, letter.step, letter.job_type) == (run.id, "a", "act")
    assert (letter.template_id, letter.template_version) == ("demo", "1.0.0")
    assert (letter.project_id, letter.trace_id) == (run.project_id, run.trace_id)
    assert (letter.status, letter.attempts, letter.checkpoint) == (LetterStatus.OPEN, 3, 3)
    assert letter.error_code == "transient"
    assert letter.error == "the host is busy\nwait"
    assert from_body(factory.storage, run.tenant_id, letter.with_) == {"text": "hello"}
    assert "TransientError" in from_body(factory.storage, run.tenant_id, letter.traceback)
    assert letter.first_failed_at == letter.failed_at == factory.jobs(run)["a"].completed_at


def test_an_attempt_that_another_one_follows_is_no_letter(factory: SmallFactory) -> None:
    factory.on["a"] = fails(busy(), times=2)
    assert completed(factory, steps(f"a: {THRICE}")).status is RunStatus.SUCCEEDED
    assert letters(factory) == []


def test_what_could_not_be_evaluated_is_not_told(factory: SmallFactory) -> None:
    run = completed(factory, steps('a: with: {number: "${{ 1 // 0 }}"}'))
    assert letter_of(factory, run).with_ is None


def test_a_person_who_says_no_leaves_no_letter(factory: SmallFactory) -> None:
    factory.on["a"] = fails(ApprovalDeniedError("grace said no"))
    run = completed(factory, steps("a: with: {}"))
    assert run.status is RunStatus.FAILED
    assert letters(factory) == []


def test_a_cancelled_job_leaves_no_letter(factory: SmallFactory) -> None:
    factory.on["a"] = fails(CancelledError("stop"))
    completed(factory, steps("a: with: {}"))
    assert letters(factory) == []


def test_a_job_that_loses_its_workers_is_buried(factory: SmallFactory) -> None:
    walk = factory.start(steps("a: with: {}"))
    for _ in range(LOSSES):
        factory.begin(walk, "a")
        walk = factory.take_over(walk)
    letter = letter_of(factory, walk.run)
    assert (letter.error_code, letter.attempts) == ("worker-lost", LOSSES)
    assert letter.traceback is None
    assert letter.with_ is None


def test_a_run_that_is_made_to_fail_buries_what_was_under_way(factory: SmallFactory) -> None:
    walk = factory.start(steps("a: with: {}", "b: with: {}", "c: needs: [a]"))
    factory.begin(walk, "a")
    for _ in range(2):  # twice is once
        end_run(
            factory.store,
            factory.clock,
            walk.run.tenant_id,
            walk.run.id,
            RunStatus.FAILED,
            "the plan is gone",
        )
    letter = letter_of(factory, walk.run)
    assert (letter.step, letter.error_code) == ("a", "run-stopped")
    assert letter.error == "the plan is gone"


def test_a_full_disk_keeps_no_job_from_being_buried(factory: SmallFactory) -> None:
    storage = FaultyStorage(factory.storage)
    engine = factory.engine_of("worker:1", storage=storage)

    def behaviour(_context: JobContext, _with: Any) -> JobResult:
        storage.full = True
        raise StorageFullError("no room")

    factory.on["a"] = behaviour
    long = "x" * 20_000
    walk = factory.start(steps(f"a: with: {{text: {long}}}, retry: {{max_attempts: 1}}"))
    factory.finish(walk, "a", engine)
    assert storage.fired["put"]
    assert letter_of(factory, walk.run).with_ is None


# --- alerts


def test_a_new_kind_of_failure_alerts_once_and_later_ones_once_an_hour(
    factory: SmallFactory,
) -> None:
    factory.clock.at = factory.clock.at.replace(minute=0)
    factory.on["a"] = fails(REFUSED)
    text = steps("a: with: {}")
    runs = [completed(factory, text) for _ in range(3)]
    (first,) = notices(factory)
    assert first["facts"]["new"]
    assert first["run_id"] == runs[0].id
    factory.clock.pass_time(timedelta(hours=1))
    for _ in range(3):
        completed(factory, text)
    _, second = notices(factory)
    assert not second["facts"]["new"]
    assert second["facts"]["letters"] == 4
    assert "4 dead letters wait" in second["body"]


def test_an_alert_and_a_kind_of_failure_hold_no_secret_and_the_commands_name_the_tenant(
    factory: SmallFactory,
) -> None:
    secrets = ("hunter-two-secret", "ghp_abcdefghijKLMNOPqrstUVWXyz")
    factory.on["a"] = fails(
        HostRejectedError(f"no login for ada: password={secrets[0]}, token {secrets[1]}")
    )
    run = completed(factory, steps("a: with: {}"))
    (told,) = notices(factory)
    (group,) = factory.store.letter_groups()
    assert "no login for ada" in told["body"]
    assert not any(secret in repr(told) + repr(group) for secret in secrets)
    short = group.fingerprint[:12]
    assert f"`factory dead-letters list --fingerprint {short} --tenant acme`" in told["body"]
    assert f"--fingerprint {short} --canary --tenant acme`" in told["body"]
    assert run.status is RunStatus.FAILED


def test_two_kinds_of_failure_alert_each(factory: SmallFactory) -> None:
    factory.on["a"], factory.on["b"] = fails(REFUSED), fails(ValueError("no"))
    run = completed(factory, steps("a: with: {}", "b: with: {}"))
    assert len({letter.fingerprint for letter in letters(factory, run)}) == 2
    assert len(notices(factory)) == 2


def test_the_same_failure_of_two_runs_is_one_kind(factory: SmallFactory) -> None:
    def behaviour(context: JobContext, _with: Any) -> JobResult:
        raise HostRejectedError(f"{context.facts.run_id}: no room in /srv/{context.facts.run_id}")

    factory.on["a"] = behaviour
    one = completed(factory, steps("a: with: {}"))
    two = completed(factory, steps("a: with: {}"), project_id="bank")
    fingerprints = {letter_of(factory, run).fingerprint for run in (one, two)}
    assert len(fingerprints) == 1
    (group,) = factory.store.letter_groups()
    assert (group.fingerprint, group.letters, group.runs) == (*fingerprints, 2, 2)
    assert group.message == "<id>: no room in <path>"


# --- what becomes of letters


def test_a_redriven_job_that_fails_again_opens_its_letter_again(factory: SmallFactory) -> None:
    factory.on["a"] = fails(REFUSED)
    run = completed(factory, steps("a: with: {}"))
    before = letter_of(factory, run)
    factory.on["a"] = fails(ValueError("another thing"))
    again(factory, run)
    after = letter_of(factory, run)
    assert after.id == before.id
    assert (after.status, after.cycle, after.redrives) == (LetterStatus.OPEN, 1, 1)
    assert after.error_code == "ValueError"
    assert after.fingerprint != before.fingerprint
    assert after.attempts == 2
    assert after.first_failed_at == before.first_failed_at
    assert after.failed_at > before.failed_at


def test_a_retried_job_that_succeeds_resolves_its_letter(factory: SmallFactory) -> None:
    factory.on["a"] = fails(REFUSED, times=1)
    run = completed(factory, steps("a: with: {}", "b: needs: [a]"))
    retry_run(factory.store, factory.clock, run.tenant_id, run.id, "grace")
    assert letter_of(factory, run).status is LetterStatus.REDRIVEN
    walk = factory.take_up(run, f"flow-{run.id}")
    factory.finish(walk, "a")
    letter = letter_of(factory, run)  # before its run has ended
    assert (letter.status, letter.redrives) == (LetterStatus.RESOLVED, 1)
    assert factory.drive(walk).status is RunStatus.SUCCEEDED


def test_a_retry_of_one_job_leaves_the_others_letters_open(factory: SmallFactory) -> None:
    factory.on["a"], factory.on["b"] = fails(REFUSED, times=1), fails(REFUSED)
    run = completed(factory, steps("a: with: {}", "b: with: {}"))
    retry_job(factory.store, factory.clock, run.tenant_id, run.id, "a", "grace")
    run_through(factory, run)
    assert {letter.step: letter.status for letter in letters(factory, run)} == {
        "a": LetterStatus.RESOLVED,
        "b": LetterStatus.OPEN,
    }


@pytest.mark.parametrize("on_failure", ["continue", "{fallback: c}"])
def test_a_run_that_succeeds_without_a_job_carries_its_letter(
    factory: SmallFactory, on_failure: str
) -> None:
    factory.on["a"] = fails(REFUSED)
    text = steps(f"a: on_failure: {on_failure}", "b: needs: [a]", "c: with: {}")
    run = completed(factory, text)
    assert run.status is RunStatus.SUCCEEDED
    letter = letter_of(factory, run)
    assert letter.status is LetterStatus.CARRIED
    assert letter.closed_at == run.completed_at
    assert notices(factory), "people are told all the same"


def test_what_a_redrive_did_not_reach_is_open_again(factory: SmallFactory) -> None:
    factory.on["a"], factory.on["b"] = fails(REFUSED), fails(REFUSED)
    run = completed(factory, steps("a: with: {}", "b: with: {}"))
    retry_run(factory.store, factory.clock, run.tenant_id, run.id, "grace")
    walk = factory.take_up(run, f"flow-{run.id}")
    factory.begin(walk, "a")
    tenant, reason = run.tenant_id, "its executor went away"
    end_run(factory.store, factory.clock, tenant, run.id, RunStatus.FAILED, reason)
    assert {letter.step: letter.error for letter in letters(factory, run, LetterStatus.OPEN)} == {
        "a": reason,
        "b": REFUSED.explain(),
    }


def test_cancelling_a_run_discards_its_letters(factory: SmallFactory) -> None:
    factory.on["a"] = fails(REFUSED)
    run = completed(factory, steps("a: with: {}"))
    retry_run(factory.store, factory.clock, run.tenant_id, run.id, "grace")
    cancel_run(factory.store, factory.clock, run.tenant_id, run.id, "ada")
    letter = letter_of(factory, run)
    assert (letter.status, letter.reason) == (LetterStatus.DISCARDED, "cancelled by ada")
    assert factory.jobs(run)["a"].status is JobStatus.CANCELLED
