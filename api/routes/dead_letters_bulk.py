"""Dead letters: tell all that a query chooses what to do, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.access import Operator, Reader
from api.context import Here
from api.letter_query import LetterChoice
from api.parts import PartChoice, named_by, part
from api.problems import documented, words_of
from api.routes.runs import value_of
from api.routes.runs_steering import change_of
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.dead_letter import LetterFilter, RedriveOrder
from factory_runtime.domain.redaction import redact
from factory_runtime.services.dead_letters import count_expected, discard_group
from factory_runtime.services.redrive_order import stop_order
from factory_runtime.services.repeats import or_as_before, order_once, stopped_before
from factory_runtime.services.visible import require_in, visible_order, visible_projects
from factory_runtime.wire.bulk import Count
from factory_runtime.wire.letter import (
    BulkDiscard,
    BulkDiscarded,
    BulkRedrive,
    OrderAnswer,
    StopOrder,
)
from factory_runtime.wire.page import Part
from factory_runtime.wire.paths import API_PREFIX

router = APIRouter(prefix="/dead-letters/actions", tags=["bulk"])
orders = APIRouter(prefix="/redrive-orders", tags=["dead letters"])

Chosen = Annotated[LetterChoice, Query()]
OrderId = Annotated[str, Path(alias="orderId", min_length=1, max_length=64)]


@router.get("/retry", responses=documented(404))
def preview_retry(chosen: Chosen, who: Operator, api: Here) -> Count:
    """How many letters a bulk retry of this query would send round again."""
    return Count(count=_count(api.runtime, who, _redrivable(api.runtime, chosen, who)))


@router.post("/retry", status_code=202, responses=documented(404, 409))
def retry_all(
    chosen: Chosen,
    who: Operator,
    api: Here,
    response: Response,
    asked: BulkRedrive | None = None,
) -> OrderAnswer:
    """Order that every open letter goes round again that the query chooses.

    It is carried out in the background; where a canary was asked for, once that has succeeded. An
    order is for one project, or for all of them: who may operate in some has to name one. One of
    yours that is under way for the same letters is answered with, and none is made beside it.
    """
    require_in(who, Right.OPERATE, chosen.project)
    wanted, runtime = asked or BulkRedrive(), api.runtime
    where = _redrivable(runtime, chosen, who)
    change, canary = change_of(wanted), wanted.canary
    order = order_once(
        runtime.redriver,
        who.tenant_id,
        where,
        who.name,
        change,
        canary=canary,
        expected=wanted.expected_count,
    )
    response.headers["Location"] = f"{API_PREFIX}/redrive-orders/{order.id}"
    return _told(runtime, order)


@router.get("/discard", responses=documented(404))
def preview_discard(chosen: Chosen, who: Operator, api: Here) -> Count:
    """How many letters a bulk discard of this query would close."""
    return Count(count=_count(api.runtime, who, chosen.filter(api.runtime, who, Right.OPERATE)))


@router.post("/discard", responses=documented(404, 409))
def discard_all(chosen: Chosen, asked: BulkDiscard, who: Operator, api: Here) -> BulkDiscarded:
    """Close every open letter that the query chooses; stopped half way, it does the rest anew."""
    runtime = api.runtime
    where = chosen.filter(runtime, who, Right.OPERATE)
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        count = count_expected(tx, where, asked.expected_count)
    store, clock = runtime.store, runtime.clock
    came = discard_group(
        store, clock, who.tenant_id, where, who.name, asked.reason, undo=asked.undo
    )
    error = None if came.error is None else words_of(came.error)
    return BulkDiscarded(count=count, done=came.letters, refused=came.refused, error=error)


@orders.get("")
def list_orders(
    wanted: Annotated[PartChoice, Query()], reader: Reader, api: Here
) -> Part[OrderAnswer]:
    """Orders to send letters round again, the newest first."""
    projects = visible_projects(reader)
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        last = named_by(wanted.cursor, partial(visible_order, tx, reader))
        found = tx.list_redrive_orders(projects=projects, limit=wanted.limit + 1, after=last)
    return part(found, wanted.limit, partial(_told, api.runtime), lambda order: (order.id,))


@orders.get("/{orderId}", responses=documented(404))
def get_order(order_id: OrderId, reader: Reader, api: Here) -> OrderAnswer:
    """An order, and how far it is."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        order = visible_order(tx, reader, order_id)
    return _told(api.runtime, order)


@orders.post("/{orderId}/stop", responses=documented(404, 409))
def stop(order_id: OrderId, asked: StopOrder, who: Operator, api: Here) -> OrderAnswer:
    """Send no more of its letters round; those that went stay under way."""
    runtime = api.runtime
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        visible_order(tx, who, order_id, Right.OPERATE)
    store, clock = runtime.store, runtime.clock
    order = or_as_before(
        store,
        who.tenant_id,
        lambda: stop_order(store, clock, who.tenant_id, order_id, who.name, asked.reason),
        lambda tx: stopped_before(tx, order_id, who.name, asked.reason),
    )
    return _told(runtime, order)


def _told(runtime: Runtime, order: RedriveOrder) -> OrderAnswer:
    """An order; of what it changes, secrets are left out."""
    change = value_of(runtime, order.tenant_id, order.change)
    return OrderAnswer.of(order, redact(change))


def _redrivable(runtime: Runtime, chosen: LetterChoice, who: Principal) -> LetterFilter:
    return replace(chosen.filter(runtime, who, Right.OPERATE), can_go_round=True)


def _count(runtime: Runtime, who: Principal, where: LetterFilter) -> int:
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        return tx.count_dead_letters(where)
