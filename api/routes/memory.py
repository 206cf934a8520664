"""Memory: what was learned, searched by meaning."""

from __future__ import annotations

from fastapi import APIRouter

from api.access import Reader
from api.context import Here
from factory_runtime.domain.access import Right
from factory_runtime.services.visible import require_in, visible_projects
from factory_runtime.wire.memory import MemoryQuestion, RecalledAnswer
from factory_runtime.wire.page import Part

router = APIRouter(prefix="/memory", tags=["memory"])


@router.post("/search")
def search(asked: MemoryQuestion, reader: Reader, api: Here) -> Part[RecalledAnswer]:
    """What the factory knows that is most like the query, best first."""
    if asked.project is not None:
        require_in(reader, Right.READ, asked.project)
    query = asked.told(api.runtime.clock.now(), visible_projects(reader))
    # The first search of a process imports the index here, on a thread of its own, for seconds.
    found = api.runtime.recaller.recall(reader.tenant_id, query)
    return Part(items=tuple(map(RecalledAnswer.of, found)))
