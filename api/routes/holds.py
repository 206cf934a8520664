"""Holds: what is kept, whatever its time is."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import Admin, Operator, Reader
from api.context import Here
from api.parts import PartChoice, named_by, part
from api.problems import documented
from factory_runtime.domain.access import Right
from factory_runtime.domain.hold import HoldScope
from factory_runtime.services import keep_artifacts
from factory_runtime.services.visible import (
    visible_artifact,
    visible_hold,
    visible_projects,
    visible_run,
)
from factory_runtime.wire.keeping import HoldAnswer, NewHold
from factory_runtime.wire.page import Part

router = APIRouter(prefix="/holds", tags=["artifacts"])

HoldId = Annotated[str, Path(alias="holdId", min_length=1, max_length=64)]


class HoldPage(PartChoice):
    """Which holds, and which part of them."""

    released: bool = False


@router.get("")
def list_holds(wanted: Annotated[HoldPage, Query()], reader: Reader, api: Here) -> Part[HoldAnswer]:
    """Holds that stand, the oldest first; ``released`` shows those that stand no more as well."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        found = tx.list_holds(
            standing=not wanted.released,
            projects=visible_projects(reader),
            limit=wanted.limit + 1,
            after=named_by(wanted.cursor, partial(visible_hold, tx, reader)),
        )
    return part(found, wanted.limit, HoldAnswer.of, lambda hold: (hold.id,))


@router.post("", status_code=201, responses=documented(404))
def add_hold(asked: NewHold, operator: Operator, api: Here) -> HoldAnswer:
    """Keep an artifact, or all that a run made, until the hold is released."""
    with api.runtime.store.begin(operator.tenant_id) as tx:
        see = visible_run if asked.scope is HoldScope.RUN else visible_artifact
        see(tx, operator, asked.subject_id, Right.OPERATE)
        now = api.runtime.clock.now()
        scope, subject = asked.scope, asked.subject_id
        hold = keep_artifacts.add_hold(tx, scope, subject, asked.reason, operator.name, now)
    return HoldAnswer.of(hold)


@router.post("/{holdId}/release", responses=documented(404))
def release_hold(hold_id: HoldId, admin: Admin, api: Here) -> HoldAnswer:
    """Have a hold stand no more; what it kept expires as it would have."""
    with api.runtime.store.begin(admin.tenant_id) as tx:
        visible_hold(tx, admin, hold_id, Right.ADMINISTER)
        now = api.runtime.clock.now()
        return HoldAnswer.of(keep_artifacts.release_hold(tx, hold_id, admin.name, now))
