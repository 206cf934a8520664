"""What a run says that it used of what it was shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import ForgetScope, Forgotten, Kind, Recalled
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.memory_uses import find_own, told_of
from tests.builders import TENANT
from tests.shelf import Shelf, forget, keep, lose, memory, on_both, recalls, uses
from tests.small_factory import THRICE, SmallFactory, steps


def test_a_job_may_use_what_a_job_before_it_was_shown(factory: SmallFactory, shelf: Shelf) -> None:
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = recalls(k=1)
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, True)]


@pytest.mark.parametrize("invented", ["mem-9", "mem-2", "x' OR '1'='1"])
def test_what_the_run_was_never_shown_is_no_use_of_it(
    factory: SmallFactory, shelf: Shelf, invented: str
) -> None:
    walk = factory.start(steps(f"a: {THRICE}"))
    factory.on["a"] = recalls("mem-1", invented, k=1)
    factory.finish(walk, "a")
    (attempt,) = factory.attempts(walk.run)
    assert attempt.outcome is Outcome.PERMANENT
    assert attempt.error_code == "unshown-memory"
    assert invented in str(attempt.error)
    assert factory.jobs(walk.run)["a"].status is JobStatus.FAILED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, False)]


def test_what_another_run_was_shown_is_not_shown_to_this_one(
    factory: SmallFactory, shelf: Shelf
) -> None:
    factory.on["a"] = recalls("mem-1")
    factory.complete(steps("a:"))
    factory.on["a"] = lambda _context, _with: JobResult(used=("mem-1",))
    walk = factory.take_up(factory.request(), "flow-2")
    factory.finish(walk, "a")
    assert factory.attempts(walk.run)[0].error_code == "unshown-memory"


@on_both
def test_what_was_forgotten_meanwhile_leaves_no_row_and_fails_nothing(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        found = context.recall("orders")
        forget(factory, "mem-1")
        return JobResult(used=tuple(one.memory.id for one in found))

    walk = factory.start(steps("a:"))
    factory.on["a"] = outlived
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-2", 2, True)]


def test_a_job_may_use_what_one_before_it_was_shown_though_it_is_forgotten_with_its_run(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders", k=1)
        forget(factory, "mem-1")
        return JobResult()

    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = outlived
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == []


def test_a_job_may_use_what_one_before_it_was_shown_though_it_holds_no_longer(
    factory: SmallFactory, shelf: Shelf
) -> None:
    def outlived(context: JobContext, _with: Mapping[str, Any]) -> JobResult:
        context.recall("orders", k=1)
        lose(factory, "mem-1")
        return JobResult()

    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = outlived
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == [("a", "mem-1", 1, True)]


@pytest.mark.parametrize("scope", ForgetScope)
def test_a_run_goes_on_though_all_that_it_was_shown_is_forgotten(
    factory: SmallFactory, shelf: Shelf, scope: ForgetScope
) -> None:
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.on["a"] = recalls(k=1)
    factory.on["b"] = lambda _context, _with: JobResult(used=("mem-1",))
    factory.finish(walk, "a")
    with factory.store.begin(TENANT) as tx:
        tx.delete_memories(["mem-1", "mem-2"])
        tx.delete_uses(project_id="shop")
        key = {ForgetScope.TENANT: "", ForgetScope.PROJECT: "shop", ForgetScope.RUN: walk.run.id}
        tx.add_forgotten(Forgotten(TENANT, scope, key[scope], factory.clock.at))
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert uses(factory, walk.run) == []


def test_what_another_tenant_shares_is_shown_and_may_be_used(
    factory: SmallFactory, shelf: Shelf
) -> None:
    theirs = memory("mem-theirs", tenant_id="library", project_id=None, kind=Kind.TEMPLATE)
    keep(factory, theirs)
    shelf.shared = (Recalled(theirs, 0.4, shared_by="library"),)
    walk = factory.start(steps("a:"))
    factory.on["a"] = recalls("mem-theirs")
    factory.drive(walk)
    assert uses(factory, walk.run)[-1] == ("a", "mem-theirs", 3, True)
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_uses(run_id=walk.run.id)
    used, *rest = told_of(partial(find_own, factory.store), TENANT, found)
    assert (used.use.memory_id, used.title) == ("mem-theirs", None)
    assert [one.kind for one in rest] == [Kind.RUN, Kind.FAILURE]
    lent = {"mem-theirs": Recalled(theirs, 0.0, shared_by="library")}
    used, *_ = told_of(
        lambda _, ids, _seen: [lent[id_] for id_ in ids if id_ in lent], TENANT, found
    )
    assert (used.title, used.kind) == (theirs.title, Kind.TEMPLATE)
