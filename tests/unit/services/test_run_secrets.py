"""A secret that one job of a run was lent: no other job says it, in whatever process it runs."""

from __future__ import annotations

import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from factory_runtime.domain.approval import Question
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import HostBusyError, SecretLeakError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.redaction import REDACTED
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports import CommitOrder, HookOrder, JobContext, WorkItemOrder
from factory_runtime.services.guards import guarded_host
from tests.builders import NOON, TENANT
from tests.small_factory import SmallFactory, steps
from tests.surfaces import forms_of, rows_of
from tests.unit.services.test_credentials import CANARY, Book, lending, told

SAID = f"{CANARY} {b64encode(f'me:{CANARY}'.encode()).decode()} {quote(CANARY, safe='')}"


def two_steps(folder: Path) -> str:
    return told("result", folder) + steps("b: needs: [a]").removeprefix("steps:\n")


def says(context: JobContext, with_: Any) -> JobResult:
    """A job that learned of the token elsewhere: from a service, or from who it shares a disk with."""
    del with_
    context.log(SAID)
    context.progress(0.5, SAID)
    context.save_checkpoint({"said": SAID})
    context.intend("note", SAID, {"said": SAID})
    return JobResult(outputs={"said": SAID})


def leaks(factory: SmallFactory) -> list[str]:
    forms = forms_of(CANARY)
    return [row for row in rows_of(factory.store) if any(form in row for form in forms)]


def status_of(factory: SmallFactory, run: Run, step: str = "b") -> JobStatus:
    return factory.jobs(run)[step].status


def test_what_one_job_was_lent_no_later_job_of_the_run_says(
    factory: SmallFactory, tmp_path: Path
) -> None:
    lending(factory, Book(TENANT))
    factory.on["b"] = says
    run = factory.complete(two_steps(tmp_path))
    assert status_of(factory, run) is JobStatus.SUCCEEDED
    assert leaks(factory) == []


def test_another_process_that_goes_on_with_the_run_says_it_no_more_either(
    factory: SmallFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lending(factory, Book(TENANT))
    walk = factory.start(two_steps(tmp_path))
    factory.finish(walk, "a")
    caplog.clear()
    factory.on["b"] = says
    again = factory.take_over(walk)
    run = factory.drive(again)
    assert status_of(factory, run) is JobStatus.SUCCEEDED
    assert leaks(factory) == []


def test_an_attempt_in_another_process_hides_what_the_one_before_was_lent(
    factory: SmallFactory, tmp_path: Path
) -> None:
    lending(factory, Book(TENANT))
    walk = factory.start(told("again", tmp_path))
    factory.attempt(walk, "a")
    factory.on["a"] = says  # it knows the token before it asks for it
    run = factory.drive(factory.take_over(walk))
    assert factory.jobs(run)["a"].attempt == 2
    assert leaks(factory) == []


def test_nobody_goes_on_with_a_run_who_cannot_learn_what_it_was_lent(
    factory: SmallFactory, tmp_path: Path
) -> None:
    book = Book(TENANT)
    lending(factory, book)
    walk = factory.start(two_steps(tmp_path))
    factory.finish(walk, "a")
    factory.on["b"] = says
    again = factory.take_over(walk)
    book.is_away = True
    factory.attempt(again, "b")
    book.is_away = False
    run = factory.drive(again)
    assert [one.outcome for one in factory.attempts(run, "b")] == [
        Outcome.TRANSIENT,
        Outcome.SUCCEEDED,
    ]
    assert leaks(factory) == []


def test_a_run_goes_on_whose_credentials_were_taken_away(
    factory: SmallFactory, tmp_path: Path
) -> None:
    book = Book(TENANT)
    lending(factory, book)
    walk = factory.start(two_steps(tmp_path))
    factory.finish(walk, "a")
    book.tenants = frozenset()
    factory.on["b"] = lambda context, with_: JobResult()
    run = factory.drive(factory.take_over(walk))
    assert status_of(factory, run) is JobStatus.SUCCEEDED


def test_a_job_of_this_process_is_not_asked_for_before_it_asks(
    factory: SmallFactory, tmp_path: Path
) -> None:
    book = Book(TENANT)
    lending(factory, book)
    book.is_away = True
    factory.on["a"] = lambda context, with_: JobResult()
    factory.on["b"] = lambda context, with_: JobResult()
    run = factory.complete(two_steps(tmp_path))
    assert status_of(factory, run) is JobStatus.SUCCEEDED


def test_a_dead_letter_holds_no_secret_that_was_an_input_too(
    factory: SmallFactory, tmp_path: Path
) -> None:
    lending(factory, Book(TENANT))

    def fail(context: JobContext, with_: Any) -> JobResult:
        try:
            raise ValueError(f"inner {SAID}")
        except ValueError as error:
            raise HostBusyError(SAID, hint=str(with_)) from error

    factory.on["b"] = fail
    text = two_steps(tmp_path).replace("needs: [a]", "needs: [a], with: {text: '${{ inputs.t }}'}")
    text += "inputs: {type: object, properties: {t: {type: string}}}\n"
    run = factory.complete(text, {"t": CANARY})
    assert status_of(factory, run) is JobStatus.FAILED
    with factory.store.begin(TENANT, read_only=True) as tx:
        (letter,) = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=10)
    assert letter.with_ is not None
    assert letter.with_.inline == {"text": REDACTED}
    assert not any(form in repr(letter) for form in forms_of(CANARY))


def test_the_outputs_of_a_run_hold_no_secret_that_was_an_input_too(
    factory: SmallFactory, tmp_path: Path
) -> None:
    lending(factory, Book(TENANT))
    text = told("result", tmp_path) + "outputs: {given: '${{ inputs.t }}'}\n"
    text += "inputs: {type: object, properties: {t: {type: string}}}\n"
    run = factory.complete(text, {"t": CANARY})
    assert run.outputs is not None
    assert run.outputs.inline == {"given": REDACTED}


def test_a_body_or_a_commit_of_a_later_job_that_holds_it_is_refused(
    factory: SmallFactory, tmp_path: Path
) -> None:
    lending(factory, Book(TENANT))
    refused: list[str] = []

    def leave(context: JobContext, with_: Any) -> JobResult:
        del with_
        trailers = (("Factory-Run", "r"), ("Factory-Step", "b"))
        order = CommitOrder("shop", "orders", "all", trailers, "me", NOON)
        host, body = context.host, f"x={CANARY}".encode()
        for file in (TreeFile("a", body), TreeFile(CANARY, b""), TreeFile("a", b"", link=CANARY)):
            with pytest.raises(SecretLeakError) as error:
                host.ensure_commit(TENANT, order, [file])
            refused.append(str(error.value))
        with pytest.raises(SecretLeakError):
            context.storage.put(TENANT, body)
        with pytest.raises(SecretLeakError):
            host.ensure_repository(TENANT, "shop", "more", effect_key="k", description=SAID)
        context.ask(Question(SAID))
        return JobResult()

    factory.on["b"] = leave
    factory.host.ensure_repository(TENANT, "shop", "orders", effect_key="k", description="")
    run = factory.complete(two_steps(tmp_path))
    assert factory.jobs(run)["b"].error is None
    assert len(refused) == 3
    assert factory.host.find_repository(TENANT, "shop", "more") is None
    assert leaks(factory) == []


class Offering:
    """A host that offers work items and hooks, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def delivery_of(self, tenant_id: str) -> Any:
        assert tenant_id == TENANT
        return self

    def ensure_work_item(self, tenant_id: str, order: WorkItemOrder) -> None:
        self.told.append((tenant_id, order))

    def ensure_hook(self, tenant_id: str, order: HookOrder) -> None:
        self.told.append((tenant_id, order))


def test_a_host_is_told_a_secret_for_its_hooks_alone() -> None:
    secrets, offering = Secrets(), Offering()
    delivery: Any = guarded_host(offering, secrets).delivery_of(TENANT)  # pyright: ignore[reportArgumentType]
    item = WorkItemOrder("shop", "Task", "Orders", "harmless", "k")
    delivery.ensure_work_item(TENANT, item)
    secrets.add([CANARY])
    with pytest.raises(SecretLeakError):
        delivery.ensure_work_item(TENANT, replace(item, fields={"System.Tags": SAID}))
    hook = HookOrder("shop", "build.complete", "https://a", "k", headers={"X-Token": CANARY})
    delivery.ensure_hook(TENANT, hook)
    assert offering.told == [(TENANT, item), (TENANT, hook)]


def test_a_program_of_a_job_shows_no_secret_on_our_outputs(
    factory: SmallFactory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lending(factory, Book(TENANT))

    def run_child(context: JobContext, with_: Any) -> JobResult:
        del with_
        said = "import sys; print(sys.argv[1]); print('x', sys.argv[1], file=sys.stderr, end='')"
        child = context.start_child([sys.executable, "-c", said, SAID])
        assert child.wait() == 0
        return JobResult()

    def borrow(context: JobContext, with_: Any) -> JobResult:
        del with_
        return JobResult(outputs={"name": context.credentials().name})

    factory.on |= {"a": borrow, "b": run_child}
    run = factory.complete(two_steps(tmp_path))
    assert status_of(factory, run) is JobStatus.SUCCEEDED
    out = err = ""
    while not (out.endswith("\n") and err.endswith(REDACTED)):  # each comes through a thread
        more = capfd.readouterr()
        out, err = out + more.out, err + more.err
    assert not any(form in out + err for form in forms_of(CANARY))
    assert out == "(redacted) bWU6(redacted) (redacted)\n"
    assert err == "x (redacted) bWU6(redacted) (redacted)"
