"""Lists of runs in parts: the conditions of a filter, and cursors that stay valid as rows come."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, and_, exists, or_

from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.run_words import words_to_find
from factory_runtime.ports import RunFilter
from factory_runtime.run_store.rows import Condition
from factory_runtime.run_store.tables import dead_letters, jobs, run_words, runs

_OUTSIDE_IDS = (
    runs.c.build_id,
    runs.c.repo_id,
    runs.c.pipeline_id,
    runs.c.work_item_id,
    runs.c.delivery_id,
)


def conditions_of(where: RunFilter) -> list[Condition]:
    """What a run must be to pass."""
    conditions = equal(
        (runs.c.project_id, where.project_id),
        (runs.c.template_id, where.template_id),
        (runs.c.requested_by, where.requested_by),
        (runs.c.module_id, where.module_id),
        (runs.c.trace_id, where.trace_id),
        (runs.c.correlation_id, where.correlation_id),
    )
    conditions += within(runs.c.requested_at, where.since, where.until)
    conditions += within(runs.c.completed_at, where.ended_since, where.ended_until)
    conditions += among(runs.c.status, where.statuses or None)
    conditions += among(runs.c.project_id, where.projects)
    if where.outside_id is not None:
        conditions.append(or_(*(column == where.outside_id for column in _OUTSIDE_IDS)))
    if where.text is not None:
        conditions += _of_words(words_to_find(where.text))
    if where.error is not None:
        conditions.append(_failed_of(where.error))
    if where.not_since_succeeded:
        conditions.append(_not_since_succeeded())
    if where.can_be_retried:
        conditions += [*can_be_retried(), ~_given_up()]
    return conditions


def place_of(where: RunFilter) -> tuple[Column[datetime], Column[str]]:
    """The columns that a list goes by: of a word's own rows where one is looked for."""
    if where.text is not None and words_to_find(where.text):
        return run_words.c.requested_at, run_words.c.run_id
    return runs.c.requested_at, runs.c.id


def _of_words(words: Sequence[str]) -> list[Condition]:
    """The first leads through its rows, in the order of the list; the others are looked up."""
    if not words:
        return []
    conditions = [_is_of_run(run_words), run_words.c.word == words[0]]
    for word in words[1:]:
        other = run_words.alias()
        same_time = other.c.requested_at == runs.c.requested_at
        conditions.append(exists().where(_is_of_run(other), same_time, other.c.word == word))
    return conditions


def _is_of_run(word: FromClause) -> Condition:
    return and_(word.c.tenant_id == runs.c.tenant_id, word.c.run_id == runs.c.id)


def _failed_of(text: str) -> Condition:
    of_job = exists().where(
        jobs.c.tenant_id == runs.c.tenant_id,
        jobs.c.run_id == runs.c.id,
        jobs.c.error.icontains(text, autoescape=True),
    )
    return or_(runs.c.error.icontains(text, autoescape=True), of_job)


def _not_since_succeeded() -> Condition:
    later = runs.alias("later")
    return ~exists().where(
        later.c.tenant_id == runs.c.tenant_id,
        later.c.inputs_digest == runs.c.inputs_digest,
        later.c.project_id == runs.c.project_id,
        later.c.template_id == runs.c.template_id,
        later.c.status == RunStatus.SUCCEEDED,
        later.c.undoes.is_(None),
        later.c.completed_at > runs.c.completed_at,
    )


def can_be_retried() -> list[Condition]:
    """Of ``runs``: it Failed, was not refused, and nobody undoes it."""
    undoing = runs.alias("undoing")
    undone = exists().where(undoing.c.tenant_id == runs.c.tenant_id, undoing.c.undoes == runs.c.id)
    return [
        runs.c.status == RunStatus.FAILED,
        runs.c.plan.is_not(None),
        runs.c.undo_requested_by.is_(None),
        ~undone,
    ]


def _given_up() -> Condition:
    """All that failed for good in the run was discarded: nobody wants it any more."""
    letters = dead_letters.c
    of_run = exists().where(letters.tenant_id == runs.c.tenant_id, letters.run_id == runs.c.id)
    waits = letters.status.in_((LetterStatus.OPEN, LetterStatus.REDRIVEN))
    return and_(of_run.where(letters.status == LetterStatus.DISCARDED), ~of_run.where(waits))


def equal(*pairs: tuple[ColumnElement[Any], object]) -> list[Condition]:
    """Each column has its value; None asks for nothing, here and in the two below."""
    return [column == wanted for column, wanted in pairs if wanted is not None]


def among(column: ColumnElement[Any], wanted: Collection[object] | None) -> list[Condition]:
    """The column has one of these values, of which there may be none."""
    return [] if wanted is None else [column.in_(wanted)]


def within(
    at: ColumnElement[Any], since: datetime | None, until: datetime | None
) -> list[Condition]:
    """The time is in a window; ``until`` itself is no longer in."""
    begun = [] if since is None else [at >= since]
    return begun if until is None else [*begun, at < until]


def beyond(
    at: ColumnElement[datetime],
    id_: ColumnElement[str],
    last_at: datetime,
    last_id: str,
    *,
    rising: bool,
) -> Condition:
    """Rows that follow one of this time and id, in the order of both."""
    # The first condition says nothing new, but it is the one an index can be entered by.
    if rising:
        return and_(at >= last_at, or_(at > last_at, and_(at == last_at, id_ > last_id)))
    return and_(at <= last_at, or_(at < last_at, and_(at == last_at, id_ < last_id)))


def cursor_of(run: Run) -> str:
    """Opaque: the place of the last run shown."""
    place = json.dumps([run.requested_at.isoformat(), run.id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def behind(cursor: str, requested_at: Column[datetime], id_: Column[str]) -> Condition:
    """What follows a cursor, newest first, in a list that goes by these columns.

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
    return beyond(requested_at, id_, at, run_id, rising=False)
