"""Approvals: what people are asked, and their answers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import Decider, Reader
from api.context import Here
from api.parts import PartChoice, named_by, part
from api.problems import documented
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.approval import Approval, ApprovalStatus
from factory_runtime.domain.errors import FactoryError
from factory_runtime.ports import RunTransaction
from factory_runtime.services.approvals import decide, why_no_grant
from factory_runtime.services.plans import approved_plan, record_of
from factory_runtime.services.visible import visible_approval, visible_projects
from factory_runtime.wire.approval import ApprovalAnswer, ApprovalDetail, Deny, Grant
from factory_runtime.wire.page import Part
from factory_runtime.wire.plan import PlanAnswer
from factory_runtime.wire.run import Name

router = APIRouter(prefix="/approvals", tags=["approvals"])

ApprovalId = Annotated[str, Path(alias="approvalId", min_length=1, max_length=64)]


class ApprovalPage(PartChoice):
    """Which approvals, and which part of them."""

    status: ApprovalStatus | None = None
    run: Name | None = None


@router.get("")
def list_approvals(
    wanted: Annotated[ApprovalPage, Query()], reader: Reader, api: Here
) -> Part[ApprovalAnswer]:
    """What people were asked, the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        last = named_by(wanted.cursor, partial(visible_approval, tx, reader))
        found = tx.list_approvals(
            status=wanted.status,
            run_id=wanted.run,
            projects=visible_projects(reader),
            limit=wanted.limit + 1,
            after=last,
        )
    return part(found, wanted.limit, ApprovalAnswer.of, lambda approval: (approval.id,))


@router.get("/{approvalId}", responses=documented(404))
def get_approval(approval_id: ApprovalId, reader: Reader, api: Here) -> ApprovalDetail:
    """A question, and the votes so far."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        approval = visible_approval(tx, reader, approval_id)
        votes = tx.list_votes(approval_id)
        why = _why_not(tx, reader, approval, api.runtime.clock.now())
    plan = _plan_of(api.runtime, approval)
    return ApprovalDetail.told(approval, votes, plan=plan, why_not=why)


@router.post("/{approvalId}/grant", responses=documented(404, 409))
def grant(
    approval_id: ApprovalId, who: Decider, api: Here, asked: Grant | None = None
) -> ApprovalDetail:
    """Say yes, once. Where that is enough, the job goes on; who requested the run may not.

    Nor may who has a key from them, or has given them theirs.
    """
    return _decide(api.runtime, approval_id, who, True, "" if asked is None else asked.comment)


@router.post("/{approvalId}/deny", responses=documented(404, 409))
def deny(approval_id: ApprovalId, asked: Deny, who: Decider, api: Here) -> ApprovalDetail:
    """Say no, and why: the job fails of it."""
    return _decide(api.runtime, approval_id, who, False, asked.comment)


def _why_not(tx: RunTransaction, who: Principal, approval: Approval, now: datetime) -> str | None:
    if not who.may(Right.DECIDE, approval.project_id):
        return f"has no role that decides in project {approval.project_id}"
    return why_no_grant(tx, approval, who.name, who.groups, now, who.behind)


def _plan_of(runtime: Runtime, approval: Approval) -> PlanAnswer | None:
    """The plan that it is about; None where its body cannot be read."""
    try:
        plan = approved_plan(runtime.storage, approval)
    except FactoryError:
        return None
    return PlanAnswer.of(plan, record_of(plan))


def _decide(
    runtime: Runtime, approval_id: str, who: Principal, granted: bool, comment: str
) -> ApprovalDetail:
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        visible_approval(tx, who, approval_id, Right.DECIDE)
    decided = decide(
        runtime.store,
        runtime.clock,
        who.tenant_id,
        approval_id,
        who.name,
        who.groups,
        granted,
        comment,
        who.behind,
    )
    return ApprovalDetail.told(decided.approval, decided.votes, counted=decided.counted)
