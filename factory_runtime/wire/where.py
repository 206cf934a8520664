"""The filter of a search of the memory, as people type it: like SQL's WHERE, and no more than that.

Nothing of the text becomes SQL again: it is read into a ``Condition``, and whatever that cannot say
is refused.
"""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.conditions import TEXT_COLUMNS, TIME_COLUMNS, Condition
from factory_runtime.domain.errors import InputError

MAX_LENGTH = 4000
"""Characters of a filter."""

MAX_CONDITIONS = 200
"""Comparisons, and what joins them."""

MAX_DEPTH = 20
"""Brackets and NOTs within each other: the parser calls itself some twenty times for each, and
Python lets it do so a thousand times.
"""

COLUMNS = {
    "project": "project_id",
    "module": "module_id",
    "run": "run_id",
    "template": "template_id",
    "version": "template_version",
    **{column: column for column in sorted(TEXT_COLUMNS | TIME_COLUMNS)},
}
"""What stands in a filter, and the column of a memory that it means."""

WHERE_HINT = (
    "a filter compares kind, project, module, run, step, template, version, outcome, path, commit,"
    " classification, created_at or changed_at with a 'text' by =, <>, <, <=, >, >=, IN, BETWEEN,"
    " LIKE 'start%' or IS NULL, and joins that by AND, OR, NOT and brackets; a time is like"
    " '2026-11-21', '2026-11-21T14:00Z' or now() - interval '7 days'"
)


def parse_where(text: str, now: datetime) -> Condition:
    """What the filter means.

    Columns and words of SQL are known in upper and lower case; texts are compared as they stand. A
    time without a zone is UTC, a day is its beginning.

    Raises:
        InputError: it is empty or too long, or says what a filter cannot; the message names it.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(
            f"the filter has {len(text)} characters",
            hint=f"at most {MAX_LENGTH}: leave out what the other options of the search can say",
        )
    if not text.strip():
        raise InputError("the filter is empty", hint="leave it out to find everything")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("the filter is no valid text", hint="write it in UTF-8")
    # The parser takes half a second to import, which only those pay who filter.
    from factory_runtime.wire.where_tree import read_where

    return read_where(text, now)
