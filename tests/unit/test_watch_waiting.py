"""The watch over a walk hears of decisions, whenever they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.job import JobStatus
from factory_runtime.services.approvals import decide
from factory_runtime.services.attempt import AnotherAttempt
from flows import watch
from flows.watch import Why, watch_run
from tasks.execution import Execution
from tasks.gate import Gate
from tests.builders import TENANT
from tests.small_factory import SUCCEEDED, SmallFactory

TEXT = """
steps:
  - {name: gate, type: approval, with: {message: May it?}}
  - {name: behind, type: act, needs: [gate]}
  - {name: other, type: act}
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[SmallFactory]:
    monkeypatch.setattr(watch, "POLL", 0.01)
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


class Parts:
    """What a watch needs of a runtime."""

    def __init__(self, factory: SmallFactory) -> None:
        self.store, self.clock, self.engine = factory.store, factory.clock, factory.engine


def asked(factory: SmallFactory, text: str = TEXT) -> tuple[Execution, AnotherAttempt]:
    """A walk that has other work, and whose question to people is open; not said so here yet."""
    walk = factory.start(text)
    factory.begin(walk, "other")
    waits = factory.attempt(walk, "gate")
    assert isinstance(waits, AnotherAttempt)
    execution = Execution(cast(Runtime, Parts(factory)), walk, Gate(1), asyncio.Semaphore(1))
    execution.at_work.add("other")
    return execution, waits


def grant(factory: SmallFactory, execution: Execution) -> None:
    with factory.store.begin(TENANT, read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=execution.walk.run.id)
    decide(factory.store, factory.clock, TENANT, approval.id, "grace", (), True)


async def until(true: Callable[[], bool]) -> None:
    # It changes beside us: there is no event to wait for.
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def live(factory: SmallFactory, execution: Execution, *acts: Callable[[], object]) -> None:
    """Watch; do one after the other, each once all before was looked at; then until it is due."""

    def is_looked_at() -> bool:
        version = factory.run(execution.walk.run).version
        return execution.heard is not None and execution.heard[0] == version

    def is_due() -> bool:
        later = execution.later.get("gate")
        return later is not None and later.not_before <= factory.clock.now()

    watching = asyncio.create_task(watch_run(execution))
    for act in acts:
        await asyncio.wait_for(until(is_looked_at), 30)
        act()
    await asyncio.wait_for(until(is_due), 30)
    assert not watching.done(), "the walk goes on"
    watching.cancel()


def test_a_decision_upon_a_job_that_waits_is_heard(factory: SmallFactory):
    execution, waits = asked(factory)
    execution.later["gate"] = waits
    asyncio.run(live(factory, execution, lambda: grant(factory, execution)))
    assert execution.walk.jobs["gate"].not_before == factory.clock.now()
    assert factory.attempt(execution.walk, "gate") == SUCCEEDED


def test_a_decision_before_the_walk_knew_that_the_job_waits_is_heard(factory: SmallFactory):
    execution, waits = asked(factory)

    def wait() -> None:
        execution.later["gate"] = waits

    asyncio.run(live(factory, execution, lambda: grant(factory, execution), wait))
    assert factory.attempt(execution.walk, "gate") == SUCCEEDED


def test_a_walk_past_its_deadline_goes_on_while_people_are_asked(factory: SmallFactory):
    execution, waits = asked(factory, f"deadline: 2h\n{TEXT}")
    execution.later["gate"] = waits
    factory.clock.pass_time(timedelta(days=1))
    asyncio.run(live(factory, execution, lambda: grant(factory, execution)))
    factory.clock.pass_time(timedelta(hours=3))
    assert asyncio.run(watch_run(execution)) is Why.CANCEL


def test_a_vote_that_decides_nothing_wakes_nobody(factory: SmallFactory):
    execution, waits = asked(factory, TEXT.replace("May it?", "May it?, count: 2"))
    execution.later["gate"] = waits
    grant(factory, execution)

    async def look() -> None:
        watching = asyncio.create_task(watch_run(execution))
        await asyncio.wait_for(until(lambda: execution.heard is not None), 30)
        watching.cancel()

    asyncio.run(look())
    assert execution.later["gate"] == waits
    assert execution.walk.jobs["gate"].status is JobStatus.WAITING
