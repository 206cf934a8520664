"""Lists of runs in parts: the conditions of a filter, and cursors that stay valid as rows come."""

from __future__ import annotations

import base64
import json
from datetime import datetime

from sqlalchemy import and_, or_

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunFilter
from factory_runtime.run_store.rows import Condition
from factory_runtime.run_store.tables import runs


def conditions_of(where: RunFilter) -> list[Condition]:
    """What a run must be to pass; ``until`` itself is no longer in."""
    pairs = (
        (runs.c.project_id, where.project_id),
        (runs.c.template_id, where.template_id),
        (runs.c.requested_by, where.requested_by),
    )
    conditions: list[Condition] = [
        column == wanted for column, wanted in pairs if wanted is not None
    ]
    if where.statuses:
        conditions.append(runs.c.status.in_(where.statuses))
    if where.since is not None:
        conditions.append(runs.c.requested_at >= where.since)
    if where.until is not None:
        conditions.append(runs.c.requested_at < where.until)
    return conditions


def cursor_of(run: Run) -> str:
    """Opaque: the place of the last run shown."""
    place = json.dumps([run.requested_at.isoformat(), run.id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def behind(cursor: str) -> Condition:
    """The runs that follow a cursor, newest first.

    Raises:
        InputError: the cursor is none of ours.
    """
    try:
        at_text, run_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        at = datetime.fromisoformat(at_text)
        if at.tzinfo is None or not isinstance(run_id, str):
            raise ValueError(cursor)
    except (ValueError, TypeError) as exc:
        raise InputError("the cursor is not one of ours", hint="begin without a cursor") from exc
    requested_at = runs.c.requested_at
    # The first condition says nothing new, but it is the one an index can be entered by.
    return and_(
        requested_at <= at, or_(requested_at < at, and_(requested_at == at, runs.c.id < run_id))
    )
