"""Open dead letters by fingerprint: one pass over an index of the open ones alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, distinct, func, select

from factory_runtime.domain.dead_letter import LetterGroup, LetterStatus
from factory_runtime.run_store.tables import dead_letters, failure_kinds

_NAMED = 10
"""How many tenants of a group are named."""


def letter_groups(
    connection: Connection, tenant_id: str | None, limit: int
) -> tuple[LetterGroup, ...]:
    """The largest group first; of all tenants, or of one."""
    letters = dead_letters.c
    count, runs, tenants, first, last = (
        func.count(),
        func.count(distinct(letters.tenant_id + "/" + letters.run_id)),
        func.count(distinct(letters.tenant_id)),
        func.min(letters.failed_at),
        func.max(letters.failed_at),
    )
    query = (
        select(letters.fingerprint, count, runs, tenants, first, last)
        .where(letters.status == LetterStatus.OPEN)
        .group_by(letters.fingerprint)
        .order_by(count.desc(), letters.fingerprint)
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(letters.tenant_id == tenant_id)
    found = connection.execute(query).all()
    return tuple(
        LetterGroup(
            fingerprint=fingerprint,
            letters=letters,
            runs=runs,
            tenant_count=tenant_count,
            first_seen=first_seen,
            last_seen=last_seen,
            **_words(connection, fingerprint, tenant_id),
        )
        for fingerprint, letters, runs, tenant_count, first_seen, last_seen in found
    )


def _words(connection: Connection, fingerprint: str, tenant_id: str | None) -> dict[str, Any]:
    """What the kind of failure is called, and whose letters they are."""
    letters, kinds = dead_letters.c, failure_kinds.c
    kind = select(kinds.job_type, kinds.error_code, kinds.message).where(
        kinds.fingerprint == fingerprint
    )
    if tenant_id is not None:
        kind = kind.where(kinds.tenant_id == tenant_id)
    job_type, error_code, message = connection.execute(kind.limit(1)).one()
    tenants = (
        select(letters.tenant_id)
        .where(letters.status == LetterStatus.OPEN, letters.fingerprint == fingerprint)
        .distinct()
        .order_by(letters.tenant_id)
        .limit(_NAMED)
    )
    if tenant_id is not None:
        tenants = tenants.where(letters.tenant_id == tenant_id)
    return {
        "job_type": job_type,
        "error_code": error_code,
        "message": message,
        "tenants": tuple(connection.execute(tenants).scalars()),
    }
