"""Open dead letters by fingerprint: counted as letters are written, and listed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select, tuple_

from factory_runtime.domain.dead_letter import DeadLetter, LetterCount, LetterGroup, LetterStatus
from factory_runtime.run_store.records import LETTER_COUNTS, LETTERS
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import dead_letters, failure_kinds, letter_counts

_NAMED = 10
"""How many tenants of a group are named."""

# --- counting


@dataclass(frozen=True)
class _Delta:
    """What becomes of a tenant's count of one kind of failure."""

    letters: int
    runs: int
    first: datetime
    last: datetime

    def __add__(self, other: _Delta) -> _Delta:
        first, last = min(self.first, other.first), max(self.last, other.last)
        return _Delta(self.letters + other.letters, self.runs + other.runs, first, last)


class LetterCounts:
    """What one transaction's letters change of the counts; written at its end, in one order.

    A count is a row that many runs share: transactions that took several of them as their letters
    come would wait for each other.
    """

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows
        self._deltas: dict[str, _Delta] = {}

    def note(self, before: DeadLetter | None, after: DeadLetter) -> None:
        """A letter was written; ``before`` is None where it is new.

        The run's row is held by whoever writes its letters, so nobody else counts the run meanwhile.
        """
        was_open = before is not None and before.status is LetterStatus.OPEN
        is_open = after.status is LetterStatus.OPEN
        if before is not None and was_open and is_open and before.fingerprint == after.fingerprint:
            if before.failed_at != after.failed_at:
                self._add(after, letters=0, runs=0)
            return
        if before is not None and was_open:
            self._add(before, letters=-1, runs=-_is_only_one(self._rows, before))
        if is_open:
            self._add(after, letters=1, runs=_is_only_one(self._rows, after))

    def write(self) -> None:
        """Call it when nothing else is to be written."""
        for fingerprint, delta in sorted(self._deltas.items()):
            _write(self._rows, fingerprint, delta)
        self._deltas.clear()

    def _add(self, letter: DeadLetter, *, letters: int, runs: int) -> None:
        delta = _Delta(letters, runs, letter.failed_at, letter.failed_at)
        known = self._deltas.get(letter.fingerprint)
        self._deltas[letter.fingerprint] = delta if known is None else known + delta


def _is_only_one(rows: TenantRows, letter: DeadLetter) -> int:
    """1 where the run has no other open letter of this kind, else 0."""
    columns = dead_letters.c
    others = rows.count(
        LETTERS,
        columns.run_id == letter.run_id,
        columns.fingerprint == letter.fingerprint,
        columns.status == LetterStatus.OPEN,
        columns.id != letter.id,
    )
    return 0 if others else 1


def _write(rows: TenantRows, fingerprint: str, delta: _Delta) -> None:
    columns, first, last = letter_counts.c, delta.first, delta.last
    changes: dict[str, Any] = {
        "letters": columns.letters + delta.letters,
        "runs": columns.runs + delta.runs,
        "first_failed_at": case(
            (columns.first_failed_at > first, first), else_=columns.first_failed_at
        ),
        "last_failed_at": case((columns.last_failed_at < last, last), else_=columns.last_failed_at),
    }
    mine = columns.fingerprint == fingerprint
    if rows.update(LETTER_COUNTS, changes, mine):
        return
    count = LetterCount(rows.tenant_id, fingerprint, delta.letters, delta.runs, first, last)
    if not rows.insert_if_absent(LETTER_COUNTS, count):
        rows.update(LETTER_COUNTS, changes, mine)


# --- listing


def letter_groups(
    connection: Connection, tenant_id: str | None, limit: int
) -> tuple[LetterGroup, ...]:
    """The largest group first; of all tenants, or of one."""
    columns = letter_counts.c
    letters = func.sum(columns.letters)
    query = (
        select(
            columns.fingerprint,
            letters,
            func.sum(columns.runs),
            func.min(columns.first_failed_at),
            func.max(columns.last_failed_at),
            func.aggregate_strings(columns.tenant_id, ","),
        )
        .where(columns.letters > 0)
        .group_by(columns.fingerprint)
        .order_by(letters.desc(), columns.fingerprint)
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(columns.tenant_id == tenant_id)
    found = [
        (fingerprint, *counts, sorted(tenants.split(",")))
        for fingerprint, *counts, tenants in connection.execute(query)
    ]
    return _groups(connection, found)


def groups_of_projects(
    connection: Connection, tenant_id: str, projects: Collection[str], limit: int
) -> tuple[LetterGroup, ...]:
    """Of some of a tenant's projects, the largest group first: its open letters are counted now."""
    columns, letters = dead_letters.c, func.count()
    query = (
        select(
            columns.fingerprint,
            letters,
            func.count(columns.run_id.distinct()),
            func.min(columns.first_failed_at),
            func.max(columns.failed_at),
        )
        .where(columns.tenant_id == tenant_id, columns.status == LetterStatus.OPEN)
        .where(columns.project_id.in_(projects))
        .group_by(columns.fingerprint)
        .order_by(letters.desc(), columns.fingerprint)
        .limit(limit)
    )
    return _groups(connection, [(*row, [tenant_id]) for row in connection.execute(query)])


def _groups(connection: Connection, found: Collection[tuple[Any, ...]]) -> tuple[LetterGroup, ...]:
    """Rows of fingerprint, letters, runs, first and last time, and tenants in order."""
    words = _words(connection, {row[0]: row[-1][0] for row in found})
    return tuple(
        LetterGroup(
            fingerprint=fingerprint,
            letters=int(letters),
            runs=int(runs),
            tenants=tuple(tenants[:_NAMED]),
            tenant_count=len(tenants),
            first_seen=first_seen,
            last_seen=last_seen,
            **words[fingerprint],
        )
        for fingerprint, letters, runs, first_seen, last_seen, tenants in found
    )


def _words(connection: Connection, tenant_of: dict[str, str]) -> dict[str, dict[str, str]]:
    """What the kinds of failure are called, by fingerprint: as one of their tenants has it."""
    columns = failure_kinds.c
    named = [(tenant_id, fingerprint) for fingerprint, tenant_id in tenant_of.items()]
    query = select(
        columns.fingerprint, columns.job_type, columns.error_code, columns.message
    ).where(tuple_(columns.tenant_id, columns.fingerprint).in_(named))
    unnamed = {"job_type": "", "error_code": "", "message": ""}
    words = dict.fromkeys(tenant_of, unnamed)
    for fingerprint, job_type, error_code, message in connection.execute(query):
        words[fingerprint] = {"job_type": job_type, "error_code": error_code, "message": message}
    return words
