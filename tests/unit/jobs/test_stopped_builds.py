"""A run is cancelled while its build is under way: the build is cancelled as well, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from factory_runtime.domain.errors import HostBusyError, HostRejectedError
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Build, BuildResult, BuildStatus
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.put_down import put_down
from factory_runtime.services.topics import STOP_OUTSIDE
from tests.builders import TENANT
from tests.offering import OfferingFactory
from tests.unit.jobs.test_pipeline_run import begin

CONFIRMED, INTENDED = EffectStatus.CONFIRMED, EffectStatus.INTENDED
STOPPED = {"pipeline": CONFIRMED, "build": CONFIRMED, "stop-build": CONFIRMED}


class Killed(BaseException):
    """As a process that is not there any more."""


@pytest.fixture
def factory(tmp_path: Path) -> OfferingFactory:
    return OfferingFactory(tmp_path / "templates")


def waiting(factory: OfferingFactory) -> Run:
    """A run that nobody executes: its build is under way."""
    walk = begin(factory)
    factory.offer.run(factory.offer.builds()[0])
    due = factory.jobs(walk.run)["build"].not_before
    put_down(factory.engine, walk, RunStatus.WAITING, due)
    stop_walking(factory.engine, walk)
    return walk.run


def cancelled(factory: OfferingFactory) -> Run:
    ended = cancel_run(factory.store, factory.clock, TENANT, waiting(factory).id, "ada")
    assert ended.status is RunStatus.CANCELLED
    return ended


def build_of(factory: OfferingFactory) -> Build:
    return factory.offer.get_build(TENANT, "shop", factory.offer.builds()[0])


def ledger(factory: OfferingFactory, run: Run) -> dict[str, EffectStatus]:
    return {one.kind: one.status for one in factory.effects(run)}


def cancels(factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The builds that the host is asked to end."""
    asked: list[str] = []
    really = factory.offer.cancel_build

    def cancel(tenant_id: str, project_id: str, build_id: str) -> None:
        asked.append(build_id)
        really(tenant_id, project_id, build_id)

    monkeypatch.setattr(factory.offer, "cancel_build", cancel)
    return asked


def test_its_build_is_cancelled_once(factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch):
    asked = cancels(factory, monkeypatch)
    run = cancelled(factory)
    factory.tidy()
    assert build_of(factory).result is BuildResult.CANCELLED
    assert (asked, ledger(factory, run)) == ([build_of(factory).id], STOPPED)
    (end,) = (one for one in factory.effects(run) if one.kind == "stop-build")
    assert end.reference == build_of(factory).id
    cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")
    factory.tidy()
    assert len(asked) == 1
    assert factory.messages(STOP_OUTSIDE) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_request_it_is_asked_for_again_and_stands_once(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch, when: str
):
    run, really = cancelled(factory), factory.offer.cancel_build

    def cut_off(*named: str) -> None:
        monkeypatch.setattr(factory.offer, "cancel_build", really)
        if when == "after":
            really(*named)
        raise Killed

    monkeypatch.setattr(factory.offer, "cancel_build", cut_off)
    with pytest.raises(Killed):
        factory.tidy()
    assert ledger(factory, run)["stop-build"] is INTENDED
    assert build_of(factory).status is (
        BuildStatus.RUNNING if when == "before" else BuildStatus.ENDED
    )
    for _ in range(6):  # a killed drain keeps its message for five minutes
        factory.tidy()
    assert build_of(factory).result is BuildResult.CANCELLED
    assert ledger(factory, run) == STOPPED


def test_one_that_was_queued_by_who_could_not_say_so_is_found_and_cancelled(
    factory: OfferingFactory,
):
    factory.offer.lose_next_answer("build")
    walk = factory.start(STEPS_OF_ONE_TRY)
    factory.attempt(walk, "build")
    assert ledger(factory, walk.run)["build"] is INTENDED
    end_run(factory.store, factory.clock, TENANT, walk.run.id, RunStatus.CANCELLED, "ada")
    stop_walking(factory.engine, walk)
    factory.tidy()
    assert build_of(factory).result is BuildResult.CANCELLED
    assert ledger(factory, walk.run) == {**STOPPED, "pipeline": CONFIRMED}


def test_what_has_ended_meanwhile_stays_as_it_is(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch
):
    asked, run = cancels(factory, monkeypatch), cancelled(factory)
    factory.offer.finish(factory.offer.builds()[0], BuildResult.SUCCEEDED)
    factory.tidy()
    assert (asked, build_of(factory).result) == ([], BuildResult.SUCCEEDED)
    assert "stop-build" not in ledger(factory, run)


def test_a_build_that_does_not_carry_our_key_is_left_alone(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch
):
    asked, run = cancels(factory, monkeypatch), cancelled(factory)

    def find_none(*_named: str, effect_key: str) -> None:
        assert effect_key.startswith(run.id)

    monkeypatch.setattr(factory.offer, "find_build", find_none)
    factory.tidy()
    assert (asked, "stop-build" in ledger(factory, run)) == ([], False)


def test_a_host_that_is_away_is_asked_again(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch
):
    run, really = cancelled(factory), factory.offer.cancel_build
    monkeypatch.setattr(factory.offer, "cancel_build", _raising(HostBusyError("away")))
    factory.tidy()
    assert build_of(factory).status is BuildStatus.RUNNING
    monkeypatch.setattr(factory.offer, "cancel_build", really)
    factory.tidy()
    assert build_of(factory).result is BuildResult.CANCELLED
    assert ledger(factory, run) == STOPPED


@pytest.mark.parametrize("asked", ["find_build", "cancel_build"])
def test_where_its_end_is_refused_people_are_told(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch, asked: str
):
    run = cancelled(factory)
    refusal = HostRejectedError("a right is missing")
    monkeypatch.setattr(factory.offer, asked, _raising(refusal))
    factory.tidy()
    effects = {one.kind: one for one in factory.effects(run)}
    assert effects["build"].status is EffectStatus.ORPHANED
    assert "a right is missing" in str(effects["build"].reason)
    assert effects["pipeline"].status is EffectStatus.CONFIRMED
    assert build_of(factory).status is BuildStatus.RUNNING
    assert factory.messages(STOP_OUTSIDE) == []


def test_undone_as_well_it_is_cancelled_once(
    factory: OfferingFactory, monkeypatch: pytest.MonkeyPatch
):
    asked, run = cancels(factory, monkeypatch), cancelled(factory)
    factory.tidy()
    assert factory.walk(factory.undo(run)).status is RunStatus.SUCCEEDED
    assert len(asked) == 1
    assert ledger(factory, run) == {
        "build": EffectStatus.UNDONE,
        "stop-build": EffectStatus.UNDONE,
        "pipeline": EffectStatus.ORPHANED,
    }


def test_a_run_that_fails_leaves_its_build_alone(factory: OfferingFactory):
    run = waiting(factory)
    end_run(factory.store, factory.clock, TENANT, run.id, RunStatus.FAILED, "no more")
    factory.tidy()
    assert build_of(factory).status is BuildStatus.RUNNING


def _raising(error: Exception) -> Callable[..., None]:
    def refuse(*_named: str, **_how: object) -> None:
        raise error

    return refuse


STEPS_OF_ONE_TRY = """
steps:
  - name: build
    type: pipeline-run
    retry: {max_attempts: 5, delays: [60s], jitter: 0}
    with: {repository: orders}
"""
