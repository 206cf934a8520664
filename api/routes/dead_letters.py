"""Dead letters: look at them, send one round again, or close it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.access import Operator, Reader, Searcher
from api.context import Here
from api.letter_query import LetterPage, letter_at, place_of
from api.parts import named_by, part
from api.problems import documented
from api.routes.runs import value_of
from api.routes.runs_steering import change_of
from factory_runtime.domain.access import Right
from factory_runtime.services.dead_letters import discard
from factory_runtime.services.letter_hints import hints_of, look_up
from factory_runtime.services.repeats import discarded_before, or_as_before, redriven_before
from factory_runtime.services.visible import visible_letter, visible_projects
from factory_runtime.wire.hints import HintsAnswer
from factory_runtime.wire.letter import (
    Discard,
    GroupAnswer,
    LetterAnswer,
    LetterDetail,
    Redrive,
    TriedAnswer,
)
from factory_runtime.wire.page import Part
from factory_runtime.wire.run import RunSummary

router = APIRouter(prefix="/dead-letters", tags=["dead letters"])

LetterId = Annotated[str, Path(alias="letterId", min_length=1, max_length=64)]


@router.get("", responses=documented(404))
def list_letters(
    wanted: Annotated[LetterPage, Query()], reader: Reader, api: Here
) -> Part[LetterAnswer]:
    """Jobs that failed for good, the newest failure first."""
    where = wanted.page(api.runtime, reader)
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        last = named_by(wanted.cursor, partial(letter_at, tx, reader))
        found = tx.list_dead_letters(where, limit=wanted.limit + 1, after=last)
        count = tx.count_dead_letters(where) if wanted.with_count else None
    return part(found, wanted.limit, LetterAnswer.of, place_of, count)


@router.get("/groups")
def list_groups(
    reader: Reader, api: Here, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Part[GroupAnswer]:
    """Open letters by kind of failure, the largest group first."""
    projects, store = visible_projects(reader), api.runtime.store
    if projects is None:
        groups = store.letter_groups(tenant_id=reader.tenant_id, limit=limit)
    else:
        with store.begin(reader.tenant_id, read_only=True) as tx:
            groups = tx.list_letter_groups(projects, limit=limit)
    return Part(items=tuple(map(GroupAnswer.of, groups)))


@router.get("/{letterId}", responses=documented(404))
def get_letter(letter_id: LetterId, reader: Reader, api: Here) -> LetterDetail:
    """A letter, with what its job was told and where it failed."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        letter = visible_letter(tx, reader, letter_id)
        tried = tuple(reversed(tx.list_audit(subject=letter.id)))
    facts: dict[str, Any] = LetterAnswer.of(letter).model_dump()
    return LetterDetail(
        **facts,
        told=value_of(api.runtime, letter.tenant_id, letter.with_),
        traceback=value_of(api.runtime, letter.tenant_id, letter.traceback),
        tried=tuple(map(TriedAnswer.of, tried)),
    )


@router.get("/{letterId}/hints", responses=documented(404))
def get_hints(letter_id: LetterId, reader: Searcher, api: Here) -> HintsAnswer:
    """Failures of its kind and similar ones, with what was otherwise when they were got over."""
    projects = visible_projects(reader)
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        letter = visible_letter(tx, reader, letter_id)
        looked = look_up(tx, letter, projects)
    return HintsAnswer.of(hints_of(letter, looked, api.runtime.recaller.recall, projects))


@router.post("/{letterId}/retry", responses=documented(404, 409))
def retry(
    letter_id: LetterId, who: Operator, api: Here, change: Redrive | None = None
) -> RunSummary:
    """Send its job round again, with what is behind it and what failed alike; its run, Queued."""
    runtime = api.runtime
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        visible_letter(tx, who, letter_id, Right.OPERATE)
    beside, wanted = () if change is None else tuple(change.beside), change_of(change)
    run = or_as_before(
        runtime.store,
        who.tenant_id,
        lambda: runtime.redriver.redrive(who.tenant_id, letter_id, who.name, wanted, beside=beside),
        lambda tx: redriven_before(tx, letter_id, who.name, wanted, beside),
    )
    return RunSummary.of(run)


@router.post("/{letterId}/discard", responses=documented(404, 409))
def discard_one(letter_id: LetterId, asked: Discard, who: Operator, api: Here) -> LetterAnswer:
    """Close an open letter: nobody sends it round again."""
    store, clock = api.runtime.store, api.runtime.clock
    with store.begin(who.tenant_id, read_only=True) as tx:
        visible_letter(tx, who, letter_id, Right.OPERATE)
    by, reason, undo = who.name, asked.reason, asked.undo
    letter = or_as_before(
        store,
        who.tenant_id,
        lambda: discard(store, clock, who.tenant_id, letter_id, by, reason, undo=undo),
        lambda tx: discarded_before(tx, letter_id, by, reason, undo=undo),
    )
    return LetterAnswer.of(letter)
