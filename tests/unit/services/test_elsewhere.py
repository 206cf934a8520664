"""A job that is retried with other inputs makes nothing a second time, at another place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    EffectElsewhereError,
    HostBusyError,
    HostRejectedError,
    InvalidInputsError,
    LeaseLostError,
)
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.tree import TreeFile
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.attempt import AttemptContext
from factory_runtime.services.retry_run import retry_run
from tests.builders import TENANT
from tests.small_factory import Act, SmallFactory, raises, steps
from tests.undoing import UndoFactory

NAMED = """
steps:
  - name: generate
    type: repo
    undo: delete-repository
    with: {repository: "${{ inputs.name }}", source: files}
inputs:
  type: object
  properties: {name: {type: string, default: orders}, other: {type: string, default: x}}
"""
REFUSED = HostRejectedError("the host refuses it")


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> UndoFactory:
    """A factory on each of the real databases."""
    return UndoFactory(tmp_path / "templates", database_store)


def failed(factory: UndoFactory, call: str) -> Run:
    """A run that failed as the host refused this of it."""

    def refuses(*_arguments: Any, **_named: Any) -> Any:
        raise REFUSED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory.host, call, refuses)
        run = factory.made(NAMED)
    assert run.status is RunStatus.FAILED
    factory.clock.pass_time()
    return run


def again(factory: UndoFactory, run: Run, **inputs: Any) -> Run:
    """Retry the run with other inputs, and drive it to its end."""
    change = Change(inputs=inputs)
    retry_run(factory.store, factory.clock, TENANT, run.id, "bob", change=change, desk=factory.desk)
    return factory.walk(run)


def targets(factory: UndoFactory, run: Run) -> set[str]:
    return {effect.target for effect in factory.effects(run)}


def test_other_inputs_are_refused_where_a_failed_job_has_made_something(factory: UndoFactory):
    run = failed(factory, "ensure_commit")
    assert factory.ledger(run)["generate repository"] is EffectStatus.INTENDED
    with pytest.raises(InvalidInputsError) as refused:
        again(factory, run, name="payments")
    (problem,) = refused.value.problems
    assert problem.message == (
        "generate: would be given another repository, and has left repository shop/orders"
        " (input name)"
    )
    assert factory.run(run) == run
    assert again(factory, run, other="y").status is RunStatus.SUCCEEDED


def test_who_asks_and_cannot_look_is_told_by_the_job_before_anything_is_made(factory: UndoFactory):
    run = failed(factory, "ensure_commit")
    factory.desk = replace(factory.desk, find_effect=None)
    assert again(factory, run, name="payments").status is RunStatus.FAILED
    error = factory.jobs(run)["generate"].error or ""
    assert "repository shop/orders" in error
    assert "repository shop/payments" in error
    assert factory.repository(run, "payments") is None
    assert targets(factory, run) == {"repository shop/orders", "commit in shop/orders"}


def test_what_was_never_made_is_made_at_the_new_place_and_undone_there(factory: UndoFactory):
    run = failed(factory, "ensure_repository")
    assert targets(factory, run) == {"repository shop/orders"}
    assert again(factory, run, name="payments").status is RunStatus.SUCCEEDED
    assert targets(factory, run) == {"repository shop/payments", "commit in shop/payments"}
    assert factory.repository(run, "payments") == ["readme"]
    assert factory.walk(factory.undo(run)).status is RunStatus.SUCCEEDED
    assert factory.repository(run, "payments") is None
    assert set(factory.ledger(run).values()) == {EffectStatus.UNDONE}


def test_a_repository_of_somebody_else_is_no_reason_to_stay_at_its_name(factory: UndoFactory):
    factory.host.ensure_repository(TENANT, "shop", "orders", effect_key="another", description="")
    factory.host.push(TENANT, "shop", "orders", TreeFile("notes", b"theirs"))
    run = factory.made(NAMED)
    assert run.status is RunStatus.FAILED
    factory.clock.pass_time()
    assert again(factory, run, name="payments").status is RunStatus.SUCCEEDED
    assert targets(factory, run) == {"repository shop/payments", "commit in shop/payments"}


# --- what a job type intends, one attempt after the other


class Site:
    """A job under way whose effect is found as a test says."""

    def __init__(self, factory: SmallFactory) -> None:
        self.factory = factory
        self.walk = factory.start(steps("a:"))
        self.context = self._context()

    def _context(self) -> AttemptContext:
        begun = self.factory.begin(self.walk, "a")
        return AttemptContext(self.factory.engine, self.walk, begun)

    def next_attempt(self) -> AttemptContext:
        self.walk = self.factory.take_over(self.walk)
        return self._context()

    def finds(self, look: Callable[[str], str | None]) -> None:
        """Have a target looked for like this."""

        def probe(effect: Effect) -> str | None:
            return look(effect.target)

        cast(Act, self.factory.job_types["act"]).probes["thing"] = probe

    @property
    def effect(self) -> Effect:
        (effect,) = self.factory.effects(self.walk.run)
        return effect


@pytest.fixture
def site(factory: UndoFactory) -> Site:
    return Site(factory)


@pytest.mark.parametrize(
    ("target", "facts"),
    [("thing 2", {"name": "one"}), ("thing 1", {"name": "two"}), ("thing 2", {})],
)
def test_an_effect_that_is_confirmed_has_its_place(
    site: Site, target: str, facts: Mapping[str, Any]
):
    site.context.intend("thing", "thing 1", {"name": "one"})
    with site.factory.store.begin(TENANT) as tx:
        tx.confirm_effect(site.effect.effect_key, "thing", "t-1", site.factory.clock.at)
    stands = site.effect
    with pytest.raises(EffectElsewhereError, match="job a has made or found thing 1, and"):
        site.next_attempt().intend("thing", target, facts)
    assert site.effect == stands


@pytest.mark.parametrize("facts", [{"name": "one"}, {"name": "one", "more": 1}, {}])
def test_more_or_fewer_facts_are_no_other_place(site: Site, facts: Mapping[str, Any]):
    site.finds({"thing 1": "t-1"}.get)
    site.context.intend("thing", "thing 1", {"name": "one"})
    assert site.next_attempt().intend("thing", "thing 1", facts) == "t-1"
    assert site.effect.status is EffectStatus.CONFIRMED


def test_a_place_is_left_only_once_nothing_was_found_there(site: Site):
    looked_for: list[str] = []
    site.finds(looked_for.append)
    site.context.intend("thing", "thing 1", {"name": "one"})
    context = site.next_attempt()
    assert context.intend("thing", "thing 2", {"name": "two"}) is None
    assert looked_for == ["thing 1"]
    effect = site.effect
    assert (effect.target, effect.facts, effect.status) == (
        "thing 2", {"name": "two"}, EffectStatus.INTENDED,
    )  # fmt: skip
    assert effect.intended_at == site.factory.clock.at


def test_a_place_that_cannot_be_looked_at_now_is_not_left(site: Site):
    site.finds(raises(HostBusyError("busy")))
    site.context.intend("thing", "thing 1")
    with pytest.raises(HostBusyError):
        site.next_attempt().intend("thing", "thing 2")
    assert site.effect.target == "thing 1"


def test_a_worker_that_was_overtaken_moves_no_effect(site: Site):
    site.context.intend("thing", "thing 1")
    late = site.next_attempt()
    site.next_attempt()
    with pytest.raises(LeaseLostError):
        late.intend("thing", "thing 2")
    assert site.effect.target == "thing 1"
