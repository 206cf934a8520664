"""The audit: who did what to what from where, and how far it is sealed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.access import Admin
from api.context import Here
from factory_runtime.domain.access import Right
from factory_runtime.domain.audit import AuditFilter
from factory_runtime.services.read_audit import read_audit
from factory_runtime.services.visible import require_in
from factory_runtime.wire.audit import AuditEntryAnswer, AuditHead
from factory_runtime.wire.base import Question
from factory_runtime.wire.page import Part
from factory_runtime.wire.run import Name
from factory_runtime.wire.times import Time

router = APIRouter(prefix="/audit", tags=["audit"])


class AuditPage(Question):
    """Which entries, and which part of them; all that is given must hold."""

    actor: Name | None = None
    action: Name | None = Field(default=None, examples=["run.cancel"])
    subject: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    trace_id: Name | None = None
    since: Time = None
    until: Time = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    def filter(self) -> AuditFilter:
        """As the store wants it."""
        return AuditFilter(
            self.actor, self.action, self.subject, self.trace_id, self.since, self.until
        )


@router.get("")
def list_audit(
    wanted: Annotated[AuditPage, Query()], admin: Admin, api: Here
) -> Part[AuditEntryAnswer]:
    """Who did what, the newest first: for admins of the whole tenant."""
    require_in(admin, Right.ADMINISTER, None)
    with api.runtime.store.begin(admin.tenant_id, read_only=True) as tx:
        page = read_audit(tx, wanted.filter(), limit=wanted.limit, cursor=wanted.cursor)
    return Part(items=tuple(map(AuditEntryAnswer.of, page.items)), next_cursor=page.cursor)


@router.get("/head")
def get_head(admin: Admin, api: Here) -> AuditHead:
    """How far the chain goes. Note it elsewhere: ``factory audit verify --head`` checks it."""
    require_in(admin, Right.ADMINISTER, None)
    with api.runtime.store.begin(admin.tenant_id, read_only=True) as tx:
        return AuditHead.of(tx.last_seal(), tx.count_unsealed())
