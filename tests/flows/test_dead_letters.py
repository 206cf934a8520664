"""From a job out of attempts to a run that Succeeded, with the command that people type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus, OrderStatus
from factory_runtime.domain.run import Run, RunStatus
from tests.factory import Factory, until
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

ATTEMPTS = 5
TENANT = "lettered"
"""It has no other letters."""


def failing_run(
    factory: Factory, name: str, folder: Path, attempts: int = 2, times: int | None = None
) -> Run:
    """A run whose second job has so many attempts, all in vain.

    It fails so many ``times``; by default, not when it is sent round again.
    """
    folder.mkdir()
    text = a_work_template(
        name,
        f"name: before, type: touch, with: {{file: {folder / 'before'}}}",
        "name: flaky, type: flaky, needs: [before],"
        f" with: {{file: {folder / 'flaky'}, times: {times or attempts}}},"
        f" retry: {{max_attempts: {attempts}}}",
        f"name: behind, type: touch, needs: [flaky], with: {{file: {folder / 'behind'}}}",
    )
    factory.template(name, text)
    return factory.request(name, "letters", TENANT)


def failed(factory: Factory, run: Run) -> Run:
    ended = factory.wait(run)
    assert ended.status is RunStatus.FAILED, ended.error
    return ended


def letter_of(factory: Factory, run: Run) -> DeadLetter:
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        where = LetterFilter(run_id=run.id, statuses=())
        (letter,) = tx.list_dead_letters(where)
    return letter


def asked(factory: Factory, *words: str) -> Any:
    said = factory.cli("dead-letters", *words, "--tenant", TENANT, "--json")
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_a_redriven_run_ends_succeeded_with_its_earlier_jobs_untouched(
    factory: Factory, tmp_path: Path
) -> None:
    run = failed(factory, failing_run(factory, "one-letter", tmp_path / "one", ATTEMPTS))
    before = factory.jobs(run)["before"]
    letter = letter_of(factory, run)
    (group,) = asked(factory, "list")["groups"]
    assert (group["letters"], group["error_code"]) == (1, "transient")
    shown = asked(factory, "show", letter.id)
    assert shown["letter"]["attempts"] == len(shown["attempts"]) == ATTEMPTS
    assert "come back later" in shown["traceback"]
    assert shown["with"]["times"] == ATTEMPTS
    said = factory.cli("dead-letters", "retry", letter.id, "--watch", "--tenant", TENANT)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{run.id} Succeeded" in said.stdout
    assert factory.run(run).cycle == 1
    assert factory.jobs(run)["before"] == before
    assert len(lines_of(tmp_path / "one" / "before")) == 1
    assert len(lines_of(tmp_path / "one" / "flaky")) == ATTEMPTS + 1
    assert len(lines_of(tmp_path / "one" / "behind")) == 1
    assert letter_of(factory, run).status is LetterStatus.RESOLVED
    assert asked(factory, "list")["groups"] == []


def test_a_canary_that_succeeds_releases_the_others_with_nobody_watching(
    factory: Factory, tmp_path: Path
) -> None:
    begun = [failing_run(factory, f"group-{n}", tmp_path / f"group-{n}") for n in range(3)]
    runs = [failed(factory, run) for run in begun]
    (group,) = asked(factory, "list")["groups"]
    assert group["runs"] == 3, "the same failure in other files is of the same kind"
    kind = group["fingerprint"][:8]
    order = asked(factory, "retry", "--fingerprint", kind, "--canary", "--yes")["order"]
    assert (order["status"], order["total"]) == (OrderStatus.CANARY, 3)
    for run in runs:
        until(lambda run=run: factory.run(run).status is RunStatus.SUCCEEDED, "it goes round")
    (done,) = asked(factory, "orders")["orders"]
    assert (done["status"], done["redriven"], done["refused"]) == (OrderStatus.DONE, 3, 0)
    assert {letter_of(factory, run).status for run in runs} == {LetterStatus.RESOLVED}


def test_who_watches_a_canary_that_fails_is_told_that_the_others_stay(
    factory: Factory, tmp_path: Path
) -> None:
    begun = [failing_run(factory, f"dead-{n}", tmp_path / f"dead-{n}", times=99) for n in range(2)]
    runs = [failed(factory, run) for run in begun]
    kind = letter_of(factory, runs[0]).fingerprint
    words = ("retry", "--fingerprint", kind, "--canary", "--watch", "--yes", "--tenant", TENANT)
    said = factory.cli("dead-letters", *words)
    assert said.returncode != 0
    assert f" {OrderStatus.STOPPED}: " in said.stdout
    assert sorted(factory.run(run).cycle for run in runs) == [0, 1]
    assert {letter_of(factory, run).status for run in runs} == {LetterStatus.OPEN}
