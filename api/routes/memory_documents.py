"""Documents: what people know, for the memory."""

from __future__ import annotations

from fastapi import APIRouter

from api.access import Requester
from api.context import Here
from factory_runtime.domain.access import Right
from factory_runtime.services.add_document import add_document
from factory_runtime.wire.document import AddedAnswer, NewDocument

router = APIRouter(prefix="/memory", tags=["memory"])


@router.post("/documents")
def add(asked: NewDocument, requester: Requester, api: Here) -> AddedAnswer:
    """Keep a document's sections, each to be found by itself; sent again, nothing changes."""
    runtime = api.runtime
    project_id = asked.project
    if project_id is None and requester.projects(Right.REQUEST) is not None:
        project_id = runtime.settings.project  # theirs is not the whole tenant's knowledge
    if project_id is not None:
        requester.require(Right.REQUEST, project_id)
    added = add_document(
        runtime.store,
        runtime.clock,
        runtime.cutter,
        requester.tenant_id,
        asked.told(project_id),
        requester.name,
    )
    return AddedAnswer.of(added)
