"""Effects that were only intended, and whether they were done, found out after the run's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, RunNotFoundError
from factory_runtime.domain.records import Effect, EffectStatus, OutboxMessage
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import GitHost, JobContext
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.settle_effects import EffectSettler
from factory_runtime.services.topics import SETTLE_EFFECTS
from tests.builders import TENANT
from tests.small_factory import Act, Behaviour, SmallFactory, steps

Ledger = dict[tuple[str, str], str | None]


class Maker(Act):
    """A job type that finds in the world what it is asked for; the world is a table.

    Attributes:
        world: what came of an effect, by step and kind; an error is raised.
        asked: the effects it was asked of, in order.
    """

    def __init__(self, behaviours: Mapping[str, Behaviour]) -> None:
        super().__init__(behaviours)
        self.world: dict[tuple[str, str], str | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.when_asked: Callable[[], object] = lambda: None

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        assert host.name == "memory"
        self.asked.append((effect.step, effect.kind))
        self.when_asked()
        found = self.world.get((effect.step, effect.kind))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def maker(factory: SmallFactory) -> Maker:
    maker = Maker(factory.on)
    factory.job_types["act"] = maker
    return maker


def begins(*kinds: str) -> Behaviour:
    """Intends these effects, and fails before it can say what came of them."""

    def behaviour(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        for kind in kinds:
            context.intend(kind, f"{kind} of {context.facts.step}", {"name": with_.get("text", "")})
        raise ValueError("interrupted")

    return behaviour


def interrupted(factory: SmallFactory, *lines: str) -> Run:
    """A run that failed with every effect of its jobs open."""
    walk = factory.start(steps(*lines))
    run = factory.drive(walk)
    stop_walking(factory.engine, walk)
    assert run.status is RunStatus.FAILED
    return run


def settler(factory: SmallFactory) -> EffectSettler:
    return EffectSettler(factory.store, factory.host, factory.job_types, factory.clock)


def message(factory: SmallFactory) -> OutboxMessage:
    (left,) = factory.messages(SETTLE_EFFECTS)
    return left


def ledger(factory: SmallFactory, run: Run) -> Ledger:
    """What came of each effect; None where it is only intended."""
    with factory.store.begin(TENANT, read_only=True) as tx:
        effects = tx.list_effects(run_id=run.id)
    for effect in effects:
        assert (effect.status is EffectStatus.CONFIRMED) == (effect.reference is not None)
    return {(effect.step, effect.kind): effect.reference for effect in effects}


def test_what_was_done_is_confirmed_and_the_rest_stays_intended(
    factory: SmallFactory, maker: Maker
):
    factory.on["a"] = begins("repository", "commit")
    run = interrupted(factory, "a:")
    maker.world[("a", "repository")] = "repo-1"
    factory.clock.pass_time()
    settler(factory).settle(message(factory))
    assert ledger(factory, run) == {("a", "repository"): "repo-1", ("a", "commit"): None}
    with factory.store.begin(TENANT, read_only=True) as tx:
        (done,) = tx.list_effects(run_id=run.id, status=EffectStatus.CONFIRMED)
    assert done.confirmed_at == factory.clock.at


def test_what_is_confirmed_already_is_not_asked_for(factory: SmallFactory, maker: Maker):
    def makes(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.intend("commit", "commit of a", {})
        return JobResult(effects=(ConfirmedEffect("commit", "abc"),))

    factory.on |= {"a": makes, "b": begins("commit")}
    run = interrupted(factory, "a:", "b: needs: [a]")
    settler(factory).settle(message(factory))
    assert maker.asked == [("b", "commit")]
    assert ledger(factory, run) == {("a", "commit"): "abc", ("b", "commit"): None}


def test_settling_twice_is_settling_once(factory: SmallFactory, maker: Maker):
    factory.on["a"] = begins("commit")
    run = interrupted(factory, "a:")
    maker.world[("a", "commit")] = "abc"
    for _ in range(2):
        settler(factory).settle(message(factory))
    assert maker.asked == [("a", "commit")]
    assert ledger(factory, run) == {("a", "commit"): "abc"}


def test_effects_of_a_type_that_is_not_installed_stay_intended(factory: SmallFactory, maker: Maker):
    factory.on["a"] = begins("commit")
    run = interrupted(factory, "a:")
    EffectSettler(factory.store, factory.host, {}, factory.clock).settle(message(factory))
    assert ledger(factory, run) == {("a", "commit"): None}
    assert maker.asked == []


def test_a_run_that_was_retried_meanwhile_is_left_alone(factory: SmallFactory, maker: Maker):
    factory.on["a"] = begins("commit")
    run = interrupted(factory, "a:")
    retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
    settler(factory).settle(message(factory))
    assert maker.asked == []
    assert ledger(factory, run) == {("a", "commit"): None}


def test_a_run_that_is_retried_while_the_world_is_asked_is_left_alone(
    factory: SmallFactory, maker: Maker
):
    factory.on["a"] = begins("commit")
    run = interrupted(factory, "a:")
    maker.world[("a", "commit")] = "abc"
    maker.when_asked = lambda: retry_run(factory.store, factory.clock, TENANT, run.id, "ada")
    settler(factory).settle(message(factory))
    assert ledger(factory, run) == {("a", "commit"): None}


@pytest.mark.parametrize("error", [HostBusyError("later"), RuntimeError("a bug in the probe")])
def test_one_effect_that_cannot_be_asked_for_now_keeps_none_of_the_others(
    factory: SmallFactory, maker: Maker, error: Exception
):
    for name in ("a", "b", "c"):
        factory.on[name] = begins("commit")
        maker.world[(name, "commit")] = f"sha-{name}"
    maker.world[("b", "commit")] = error
    run = interrupted(factory, "a:", "b:", "c:")
    with pytest.raises(type(error)):
        settler(factory).settle(message(factory))
    assert ledger(factory, run) == {
        ("a", "commit"): "sha-a",
        ("b", "commit"): None,
        ("c", "commit"): "sha-c",
    }
    maker.world[("b", "commit")] = "sha-b"
    settler(factory).settle(message(factory))
    assert maker.asked[3:] == [("b", "commit")]
    assert ledger(factory, run)[("b", "commit")] == "sha-b"


def test_a_host_that_will_not_tell_is_not_asked_for_ever(factory: SmallFactory, maker: Maker):
    factory.on["a"] = begins("commit")
    run = interrupted(factory, "a:")
    maker.world[("a", "commit")] = HostRejectedError("no such project")
    handlers = {SETTLE_EFFECTS: settler(factory).settle}
    assert drain_outbox(factory.store, factory.clock, handlers, "drain") == Drained()
    factory.clock.pass_time(timedelta(seconds=30))  # a job that was cut off may be at it still
    drained = drain_outbox(factory.store, factory.clock, handlers, "drain")
    assert drained == Drained(done=1)
    assert factory.messages(SETTLE_EFFECTS) == []
    assert ledger(factory, run) == {("a", "commit"): None}


def test_a_run_of_another_tenant_is_not_there(factory: SmallFactory, maker: Maker):
    factory.on["a"] = begins("commit")
    interrupted(factory, "a:")
    with pytest.raises(RunNotFoundError):
        settler(factory).settle(replace(message(factory), tenant_id="other"))
    assert maker.asked == []
