"""What a request says that it drew from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    InputError,
    RequestConflictError,
    UnknownMemoryError,
)
from factory_runtime.domain.memory import Memory, MemoryUse, Recalled
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store.transaction import SqlTransaction
from tests.builders import NOON, TENANT, a_run
from tests.shelf import Shelf, forget, keep, memory, on_both, uses
from tests.small_factory import SmallFactory, raises, steps


@on_both
def test_a_request_names_what_it_drew_from(factory: SmallFactory, shelf: Shelf) -> None:
    factory.template(steps("a:"))
    run = factory.request(drawn_from=("mem-2", "mem-1", "mem-2"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        found = tx.list_uses(run_id=run.id)
    first = MemoryUse(TENANT, run.id, "", "mem-2", "shop", 1, 0.0, NOON, used_at=NOON)
    assert found == (first, replace(first, memory_id="mem-1", rank=2))


def test_the_same_request_again_is_the_same_run_and_rows(
    factory: SmallFactory, shelf: Shelf
) -> None:
    factory.template(steps("a:"))
    asked: dict[str, Any] = {"idempotency_key": "order-1", "drawn_from": ("mem-1", "mem-2")}
    run = factory.request(**asked)
    factory.clock.pass_time()
    in_another_order: dict[str, Any] = {**asked, "drawn_from": ("mem-2", "mem-1")}
    assert factory.request(**in_another_order).id == run.id
    assert len(uses(factory, run)) == 2
    with pytest.raises(RequestConflictError):
        factory.request(idempotency_key="order-1", drawn_from=("mem-1",))
    forget(factory, "mem-1", "mem-2")  # it was accepted: what becomes of them since is no matter
    assert factory.request(**asked).id == run.id


@pytest.mark.parametrize(
    "other",
    [
        memory("mem-3", project_id="bank"),
        memory("mem-3", tenant_id="umbrella", project_id=None),
        memory("mem-4"),
    ],
    ids=["of another project", "of another tenant", "of nobody"],
)
def test_a_request_draws_from_what_its_project_may_see(
    factory: SmallFactory, shelf: Shelf, other: Memory
) -> None:
    keep(factory, other)
    factory.template(steps("a:"))
    with pytest.raises(UnknownMemoryError, match=r"has no memory mem-3$") as refusal:
        factory.request(drawn_from=("mem-1", "mem-3"))
    refused = factory.run(replace(a_run(), id=refusal.value.run_id or ""))
    assert refused.status is RunStatus.FAILED
    assert uses(factory, refused) == []


def test_a_request_may_draw_from_what_another_tenant_shares(
    factory: SmallFactory, shelf: Shelf
) -> None:
    theirs = memory("mem-theirs", tenant_id="library", project_id=None)
    lent = (Recalled(theirs, 0.0, shared_by="library"),)

    def find(_tenant: str, _ids: Sequence[str], _seen: object) -> Sequence[Recalled]:
        return lent

    factory.desk = replace(factory.desk, find_memories=find)
    factory.template(steps("a:"))
    run = factory.request(drawn_from=("mem-theirs",))
    assert uses(factory, run) == [("", "mem-theirs", 1, True)]


@pytest.mark.parametrize(
    "given",
    [
        ("",),
        ("m" * 65,),
        ("mem 1",),
        ("mem-\0",),
        ("mem-\udcff",),
        ("é",),
        tuple(f"mem-{n}" for n in range(51)),
    ],
    ids=ascii,
)
def test_what_can_be_no_memory_is_refused(
    factory: SmallFactory, shelf: Shelf, given: tuple[str, ...]
) -> None:
    factory.template(steps("a:"))
    with pytest.raises(InputError) as refusal:
        factory.request(drawn_from=given)
    assert refusal.value.hint


def test_a_filter_in_an_id_is_an_id(factory: SmallFactory, shelf: Shelf) -> None:
    factory.template(steps("a:"))
    with pytest.raises(UnknownMemoryError):
        factory.request(drawn_from=("x'OR'1'='1",))


def test_who_draws_from_nothing_costs_no_look_at_the_memory(
    factory: SmallFactory, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.template(steps("a:"))
    for name in ("find_memories", "add_uses", "list_uses", "mark_used"):
        monkeypatch.setattr(SqlTransaction, name, raises(AssertionError(name)))
    factory.drive(factory.take_up(factory.request()))
