"""What becomes of runs, jobs and dead letters stands in Prefect as events, each once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.retry_run import retry_run
from tests.factory import Factory, until
from tests.work_types import a_work_template

pytestmark = pytest.mark.slow

TENANT = "eventful"
ATTEMPTS = 5


def events_of(factory: Factory, *resources: str) -> list[dict[str, Any]]:
    """The events that are about these."""
    wanted = {"filter": {"resource": {"id": list(resources)}}, "limit": 50}
    return factory.prefect("POST", "/events/filter", wanted)["events"]


def names(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(event["event"].removeprefix("factory.") for event in events)


def wait_for(factory: Factory, resource: str, wanted: dict[str, int]) -> list[dict[str, Any]]:
    """The events about it, once they are these."""

    def heard() -> bool:
        return names(events_of(factory, resource)) == Counter(wanted)

    until(heard, f"{resource}: {wanted}", every=0.25)
    return events_of(factory, resource)


def letter_of(factory: Factory, run: Run) -> str:
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        (letter,) = tx.list_dead_letters(LetterFilter(run_id=run.id, statuses=()))
    return letter.id


def test_a_run_that_fails_and_is_sent_round_is_told_step_by_step(factory: Factory, tmp_path: Path):
    flaky = f"with: {{file: {tmp_path / 'flaky'}, times: {ATTEMPTS}}}"
    text = a_work_template("eventful", f"name: flaky, type: flaky, {flaky}")
    factory.template("eventful", text)
    run = factory.complete("eventful", "events", TENANT)
    assert run.status is RunStatus.FAILED
    resource = f"factory.run.{run.id}"
    first = {"run.accepted": 1, "run.started": 1, "dead-letter.alerted": 1, "run.failed": 1}
    wait_for(factory, resource, first)
    job = {"job.retried": ATTEMPTS - 1, "job.failed": 1}
    wait_for(factory, f"factory.job.{run.id}:flaky", job)
    (letter,) = wait_for(
        factory, f"factory.dead-letter.{letter_of(factory, run)}", {"dead-letter.opened": 1}
    )
    assert letter["resource"]["factory.error-code"] == "transient"
    related = {one["prefect.resource.id"] for one in letter["related"]}
    assert {resource, f"factory.job.{run.id}:flaky", f"factory.tenant.{TENANT}"} <= related
    retry_run(factory.runtime.store, factory.runtime.clock, TENANT, run.id, "ada")
    until(lambda: factory.run(run).status is RunStatus.SUCCEEDED, "it succeeded")
    second = {"run.retried": 1, "run.started": 2, "run.succeeded": 1}
    everything = wait_for(factory, resource, first | second)
    assert "come back later" not in str(everything)  # the words of a failure


def test_a_run_put_aside_and_one_refused_are_told(factory: Factory, tmp_path: Path):
    count = f"with: {{file: {tmp_path / 'count'}, to: 200, pause: 0.1}}"
    factory.template("aside", a_work_template("aside", f"name: count, type: count, {count}"))
    run = factory.request("aside", "events", TENANT)
    runtime = factory.runtime
    factory.wait(run, RunStatus.RUNNING)
    pause_run(runtime.store, runtime.clock, TENANT, run.id, "ada")
    factory.wait(run, RunStatus.PAUSED)
    resume_run(runtime.store, runtime.clock, TENANT, run.id, "ada")
    factory.wait(run, RunStatus.RUNNING)
    cancel_run(runtime.store, runtime.clock, TENANT, run.id, "ada")
    told = {"accepted": 1, "started": 2, "paused": 1, "resumed": 1, "cancelled": 1}
    wait_for(factory, f"factory.run.{run.id}", {f"run.{what}": n for what, n in told.items()})
    with pytest.raises(FactoryError) as refused:
        factory.request("aside", "events", TENANT, nothing="of this name")
    wait_for(factory, f"factory.run.{refused.value.run_id}", {"run.refused": 1})
