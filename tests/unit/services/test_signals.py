"""Signals: each change of a run or a job that machines act on is left once, and nothing besides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import FactoryError, HostBusyError, HostRejectedError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.request_run import request_run
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.signals import Signal, signals_of
from factory_runtime.services.take_back import LOSSES
from factory_runtime.services.topics import PREFECT_EVENT, SIGNALS
from tests.builders import NOON, TENANT, a_run_request
from tests.small_factory import THRICE, SmallFactory, fails, steps

ACCEPTED, STARTED = "run.accepted", "run.started"


@pytest.fixture
def factory(tmp_path: Path) -> SmallFactory:
    return SmallFactory(tmp_path)


def told(factory: SmallFactory, *names: str) -> list[Signal]:
    """What was left, or what was left by these names; in no order."""
    signals = [one for message in factory.messages(SIGNALS) for one in signals_of(message).signals]
    return [signal for signal in signals if not names or signal.name in names]


def names(factory: SmallFactory) -> list[str]:
    return sorted(signal.name for signal in told(factory))


def a_failed_run(factory: SmallFactory) -> Run:
    factory.on["ship"] = fails(HostRejectedError("the host says no"))
    return factory.complete(steps("build:", "ship: needs: [build]"))


def test_a_run_that_goes_well_is_told_thrice_however_many_jobs_it_has(factory: SmallFactory):
    run = factory.complete(steps(*(f"job-{number}:" for number in range(20))))
    assert run.status is RunStatus.SUCCEEDED
    assert names(factory) == [ACCEPTED, STARTED]
    (end,) = factory.messages(PREFECT_EVENT)  # of the notice that it leaves anyway
    assert end.payload["facts"]["status"] == "Succeeded"


def test_a_job_that_fails_for_good_is_told_with_its_dead_letter(factory: SmallFactory):
    run = a_failed_run(factory)
    assert names(factory) == ["dead-letter.opened", "job.failed", ACCEPTED, STARTED]
    (failed,), (opened,) = told(factory, "job.failed"), told(factory, "dead-letter.opened")
    assert failed.step == opened.step == "ship"
    with factory.store.begin(TENANT, read_only=True) as tx:
        (letter,) = tx.list_dead_letters(LetterFilter(run_id=run.id))
    assert opened.letter_id == letter.id
    assert opened.facts["fingerprint"] == letter.fingerprint
    assert failed.facts["error_code"] == "host-rejected"


def test_each_attempt_that_another_one_follows_is_told(factory: SmallFactory):
    factory.on["ship"] = fails(HostBusyError("try later"), times=2)
    factory.complete(steps(f"ship: {THRICE}"))
    retried = told(factory, "job.retried")
    assert sorted(one.facts["attempt"] for one in retried) == [1, 2]
    assert len(names(factory)) == 4


def test_a_run_that_is_refused_is_told(factory: SmallFactory):
    with pytest.raises(FactoryError) as refused:
        factory.request("nothing-of-this-name")
    (signal,) = told(factory)
    assert signal.name == "run.refused"
    assert signal.facts["error_code"] == refused.value.code


def test_a_run_put_aside_and_let_go_on_is_told(factory: SmallFactory):
    walk = factory.start(steps("build:"))
    pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    put_down(factory.engine, walk, RunStatus.PAUSED)
    factory.clock.pass_time()
    resume_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    factory.clock.pass_time()
    factory.take_up(walk.run)
    assert names(factory) == [ACCEPTED, "run.paused", "run.resumed", STARTED, STARTED]


def test_a_run_that_waits_is_told_and_that_it_looks_again_is_not(factory: SmallFactory):
    factory.on["ask"] = lambda _context, _with: WaitUntil(NOON + timedelta(minutes=5), "waits")
    walk = factory.start(steps("ask:"))
    factory.attempt(walk, "ask")
    put_down(factory.engine, walk, RunStatus.WAITING, NOON + timedelta(minutes=5))
    factory.clock.pass_time(timedelta(minutes=6))
    factory.take_up(walk.run)
    assert names(factory) == [ACCEPTED, STARTED, "run.waiting"]


def test_a_run_sent_round_again_is_told_with_its_cycle(factory: SmallFactory):
    run = a_failed_run(factory)
    factory.clock.pass_time(factory.engine.lease)  # whoever walked it has let go
    retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
    factory.clock.pass_time()
    factory.take_up(run)
    (again,) = told(factory, "run.retried")
    assert (again.facts["jobs"], again.facts["cycle"]) == (1, 1)
    assert sorted(one.facts["cycle"] for one in told(factory, STARTED)) == [0, 1]


def cancel(factory: SmallFactory, run: Run) -> None:
    cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")


def fail(factory: SmallFactory, run: Run) -> None:
    end_run(factory.store, factory.clock, TENANT, run.id, RunStatus.FAILED, "stopped")


@pytest.mark.parametrize("end", [cancel, fail])
def test_an_end_from_outside_is_told_once(
    factory: SmallFactory, end: Callable[[SmallFactory, Run], None]
):
    factory.template(steps("build:"))
    run = factory.request()
    for _ in range(2):
        end(factory, run)
    (message,) = factory.messages(PREFECT_EVENT)
    assert message.key == f"run-complete:{run.id}:0"


def test_a_job_that_loses_its_worker_is_not_told_before_it_has_failed(factory: SmallFactory):
    walk = factory.start(steps("build:"))
    for _ in range(LOSSES - 1):
        factory.begin(walk, "build")
        walk = factory.take_over(walk)
    assert names(factory) == [ACCEPTED, STARTED]
    factory.begin(walk, "build")
    walk = factory.take_over(walk)
    assert factory.jobs(walk.run)["build"].status is JobStatus.FAILED
    assert names(factory)[:2] == ["dead-letter.opened", "job.failed"]


def test_what_is_repeated_after_a_lost_answer_is_told_once(factory: SmallFactory):
    factory.template(steps("build:"))
    request = a_run_request(template="demo", inputs={}, idempotency_key="once")
    assert request_run(factory.desk, request).id == request_run(factory.desk, request).id
    assert names(factory) == [ACCEPTED]
