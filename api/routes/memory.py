"""Memory: what was learned, searched by meaning, and put together for a task."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.access import Searcher
from api.context import Here
from api.problems import documented
from factory_runtime.domain.access import Right
from factory_runtime.services.visible import require_in, visible_projects
from factory_runtime.wire.context import ContextAnswer, ContextQuestion
from factory_runtime.wire.memory import MemoryQuestion, RecalledAnswer
from factory_runtime.wire.page import Part

router = APIRouter(prefix="/memory", tags=["memory"])

PackageId = Annotated[str, Path(alias="contextPackageId", min_length=1, max_length=64)]


@router.post("/search")
def search(asked: MemoryQuestion, reader: Searcher, api: Here) -> Part[RecalledAnswer]:
    """What the factory knows that is most like the query, best first."""
    if asked.project is not None:
        require_in(reader, Right.READ, asked.project)
    now, confidential = api.runtime.clock.now(), visible_projects(reader, Right.OPERATE)
    query = asked.told(now, visible_projects(reader), confidential)
    # The first search of a process imports the index here, on a thread of its own, for seconds.
    found = api.runtime.recaller.recall(reader.tenant_id, query)
    return Part(items=tuple(map(RecalledAnswer.of, found)))


@router.post("/context")
def make_context(asked: ContextQuestion, reader: Searcher, api: Here) -> ContextAnswer:
    """What is known about a task, within so many tokens; asked again in time, the same package."""
    if asked.project is not None:
        require_in(reader, Right.READ, asked.project)
    task = asked.told(visible_projects(reader), visible_projects(reader, Right.OPERATE))
    return ContextAnswer.of(api.runtime.context_desk.build(reader.tenant_id, task))


@router.get("/context/{contextPackageId}", responses=documented(404))
def get_context(package_id: PackageId, reader: Searcher, api: Here) -> ContextAnswer:
    """A package, until it expires; what was forgotten since is gone from it."""
    sight = visible_projects(reader), visible_projects(reader, Right.OPERATE)
    return ContextAnswer.of(api.runtime.context_desk.read(reader.tenant_id, package_id, *sight))
