"""A host that is down costs a few attempts, not those of every run that needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.breaker import LONGEST, THRESHOLD
from factory_runtime.services.engine import Walk
from tests.small_factory import Act, SmallFactory, steps

RUNS = 12


class Forge(Act):
    """Needs an outside host."""

    facts = replace(Act.facts, hosts=("forge",))


class Outage:
    """The host behind the job type: it counts how often it is asked."""

    def __init__(self) -> None:
        self.down = True
        self.asked = 0

    def publish(self, context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        del context, with_
        self.asked += 1
        if self.down:
            raise HostBusyError("the forge does not answer")
        return JobResult()


def drive_for(factory: SmallFactory, walks: list[Walk], time: timedelta) -> None:
    """Attempt each job whenever it may be attempted, for so long."""
    until = factory.clock.at + time
    due = {walk.run.id: factory.clock.at for walk in walks}
    while factory.clock.at < until:
        for walk in walks:
            if "ask" in walk.endings or due[walk.run.id] > factory.clock.at:
                continue
            ended = factory.attempt(walk, "ask")
            if isinstance(ended, AnotherAttempt):
                due[walk.run.id] = ended.not_before
        factory.clock.pass_time()


def many_runs(factory: SmallFactory, outage: Outage) -> list[Walk]:
    forge = Forge(factory.on)
    factory.job_types["act"] = forge
    factory.on["ask"] = outage.publish
    factory.template(steps("ask:"))
    runs: list[Run] = [factory.request() for _ in range(RUNS)]
    return [factory.take_up(run, f"flow-{number}") for number, run in enumerate(runs)]


def test_a_dead_host_does_not_burn_every_runs_attempts(factory: SmallFactory):
    outage = Outage()
    walks = many_runs(factory, outage)
    drive_for(factory, walks, timedelta(minutes=5))
    # Without a breaker each run would have spent its five attempts in the first half minute.
    assert outage.asked < 3 * RUNS
    assert outage.asked >= THRESHOLD
    assert not any(factory.run(walk.run).ended for walk in walks)

    outage.down = False
    drive_for(factory, walks, LONGEST + timedelta(minutes=1))
    assert {factory.run(walk.run).status for walk in walks} == {RunStatus.SUCCEEDED}


def test_a_job_that_a_dead_host_keeps_waiting_holds_no_lease_and_spends_nothing(
    factory: SmallFactory,
):
    walks = many_runs(factory, Outage())
    for walk in walks[:THRESHOLD]:
        factory.attempt(walk, "ask")
    late = walks[-1]
    put_off = factory.attempt(late, "ask")
    assert isinstance(put_off, AnotherAttempt)
    assert put_off.outcome is Outcome.WAITING
    assert put_off.not_before > factory.clock.at
    job = factory.jobs(late.run)["ask"]
    assert (job.status, job.attempt, job.failures) == (JobStatus.PENDING, 0, 0)
    assert job.lease_expires_at is None
