"""The run store's transaction: how long artifacts are kept, and what refers to their bodies."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Text, and_, exists, func, or_, select, type_coerce

from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.errors import ArtifactNotFoundError, HoldNotFoundError
from factory_runtime.domain.hold import DyingBody, Hold
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import NamedDigests
from factory_runtime.run_store.column_types import BodyText
from factory_runtime.run_store.paging import among, beyond
from factory_runtime.run_store.records import ARTIFACTS, DYING_BODIES, HOLDS
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import (
    approvals,
    artifacts,
    checkpoints,
    dead_letters,
    dying_bodies,
    holds,
    jobs,
    metadata,
    runs,
    templates,
)

_REFERENCE = '{"reference":{"digest":"'
"""How a row begins that holds no body, but says where it lies: see ``BodyText``."""

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

_OVER = (RunStatus.SUCCEEDED, RunStatus.CANCELLED)
"""Runs that never move again. What has Failed may be retried."""

_BODIES: tuple[Column[Any], ...] = tuple(
    column
    for table in metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, BodyText)
)
_NAMED_OUTRIGHT: tuple[Column[Any], ...] = (
    templates.c.digest,
    runs.c.template_digest,
    approvals.c.plan_digest,
)
_OF_LIVING_RUNS = (
    (runs.c.inputs, runs.c.id),
    (runs.c.plan, runs.c.id),
    (runs.c.outputs, runs.c.id),
    (jobs.c.outputs, jobs.c.run_id),
    (checkpoints.c.state, checkpoints.c.run_id),
    (dead_letters.c.with_, dead_letters.c.run_id),
)


class Keeping:
    """``ports.KeepingRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    # when artifacts expire

    def set_expiry(
        self, artifact_id: str, expires_at: datetime | None, *, once_downloaded: bool
    ) -> None:
        changes = {"expires_at": expires_at, "once_downloaded": once_downloaded}
        if not self._rows.update(ARTIFACTS, changes, artifacts.c.id == artifact_id):
            raise ArtifactNotFoundError(f"no artifact {artifact_id}")

    def expired_artifacts(
        self, now: datetime, limit: int, *, after: Artifact | None = None
    ) -> tuple[Artifact, ...]:
        columns = artifacts.c
        where: list[Condition] = [
            columns.expires_at <= now,
            columns.body_deleted_at.is_(None),
            columns.uri.startswith("artifact:"),
        ]
        order = (columns.expires_at, columns.id)
        if after is not None and after.expires_at is not None:
            where.append(beyond(*order, after.expires_at, after.id, rising=True))
        return self._rows.list(ARTIFACTS, *where, order_by=order, limit=limit)

    # holds

    def add_hold(self, hold: Hold) -> None:
        self._rows.insert(HOLDS, [hold])

    def get_hold(self, hold_id: str) -> Hold:
        hold = self._rows.find(HOLDS, id=hold_id)
        if hold is None:
            raise HoldNotFoundError(f"no hold {hold_id}")
        return hold

    def save_hold(self, hold: Hold) -> None:
        if not self._rows.update(HOLDS, HOLDS.row_of(hold), holds.c.id == hold.id):
            raise HoldNotFoundError(f"no hold {hold.id}")

    def list_holds(
        self,
        *,
        standing: bool = True,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Hold | None = None,
    ) -> tuple[Hold, ...]:
        where = among(holds.c.project_id, projects)
        if standing:
            where.append(holds.c.released_at.is_(None))
        age = (holds.c.created_at, holds.c.id)
        if after is not None:
            where.append(beyond(*age, after.created_at, after.id, rising=True))
        return self._rows.list(HOLDS, *where, order_by=age, limit=limit)

    def is_held(self, artifact: Artifact) -> bool:
        subjects = holds.c.subject_id.in_([artifact.id, artifact.run_id])
        return self._rows.count(HOLDS, subjects, holds.c.released_at.is_(None)) > 0

    # bodies that may go

    def mark_dying(self, digests: Iterable[str], at: datetime) -> None:
        marks = [DyingBody(self._rows.tenant_id, digest, at) for digest in sorted(digests)]
        self._rows.insert_where_absent(DYING_BODIES, marks)

    def take_mark(self, digests: Collection[str]) -> int:
        return self._rows.delete(DYING_BODIES, dying_bodies.c.digest.in_(digests))

    def lock_dying(self, digest: str) -> DyingBody | None:
        held = self._rows.lock(DYING_BODIES, digest=digest)
        return self._rows.find(DYING_BODIES, digest=digest) if held else None

    def dying_bodies(
        self, limit: int, *, until: datetime | None = None, after: DyingBody | None = None
    ) -> tuple[DyingBody, ...]:
        columns = dying_bodies.c
        order = (columns.marked_at, columns.digest)
        where: list[Condition] = [] if until is None else [columns.marked_at <= until]
        if after is not None:
            where.append(beyond(*order, after.marked_at, after.digest, rising=True))
        return self._rows.list(DYING_BODIES, *where, order_by=order, limit=limit)

    def count_dying(self) -> int:
        return self._rows.count(DYING_BODIES)

    def note_body_deleted(self, digest: str, at: datetime) -> tuple[str, ...]:
        theirs = (artifacts.c.sha256 == digest, artifacts.c.body_deleted_at.is_(None))
        found = self._rows.list(ARTIFACTS, *theirs, order_by=(artifacts.c.id,))
        self._rows.update(ARTIFACTS, {"body_deleted_at": at}, *theirs)
        return tuple(artifact.id for artifact in found)

    # what refers to bodies

    def kept_digests(self, digests: Collection[str], now: datetime) -> frozenset[str]:
        columns, tenant_id = artifacts.c, self._rows.tenant_id
        run = and_(
            runs.c.tenant_id == columns.tenant_id,
            runs.c.id == columns.run_id,
            runs.c.status.not_in(_OVER),
        )
        hold = and_(
            holds.c.tenant_id == columns.tenant_id,
            holds.c.subject_id.in_([columns.id, columns.run_id]),
            holds.c.released_at.is_(None),
        )
        query = select(columns.sha256).where(
            columns.tenant_id == tenant_id,
            columns.sha256.in_(digests),
            columns.body_deleted_at.is_(None),
            or_(
                columns.expires_at.is_(None),
                columns.expires_at > now,
                exists().where(run),
                exists().where(hold),
            ),
        )
        return frozenset(digest for (digest,) in self._rows.select(query.distinct()))

    def referred_digests(self, digests: Collection[str]) -> frozenset[str]:
        found: set[str] = set()
        for column in _BODIES:
            text = type_coerce(column, Text)
            begins = func.substr(text, 1, len(_REFERENCE)) == _REFERENCE
            digest = func.substr(text, len(_REFERENCE) + 1, 64)
            found |= self._of_tenant(column, digest, begins, digest.in_(digests))
        for column in _NAMED_OUTRIGHT:
            found |= self._of_tenant(column, column, column.in_(digests))
        return frozenset(found)

    def named_by_living_runs(self, limit: int, *, after: str | None = None) -> NamedDigests:
        living = select(runs.c.id).where(
            runs.c.tenant_id == self._rows.tenant_id, runs.c.status.not_in(_OVER)
        )
        if after is not None:
            living = living.where(runs.c.id > after)
        page = self._rows.select(living.order_by(runs.c.id).limit(limit))
        ids = [run_id for (run_id,) in page]
        named, bodies = set[str](), set[str]()
        for text in self._texts_of(ids):
            (bodies if text.startswith(_REFERENCE) else named).update(_DIGEST.findall(text))
        return NamedDigests(
            frozenset(named), frozenset(bodies), ids[-1] if len(ids) == limit else None
        )

    def oldest_attempt(self) -> datetime | None:
        columns = jobs.c
        query = select(func.min(columns.last_attempt_at)).where(
            columns.tenant_id == self._rows.tenant_id,
            columns.lease_expires_at.is_not(None),
            columns.status == JobStatus.RUNNING,
        )
        ((at,),) = self._rows.select(query)
        return at

    def _texts_of(self, run_ids: Collection[str]) -> Iterator[str]:
        if not run_ids:
            return
        for column, run_id in _OF_LIVING_RUNS:
            mine = column.table.c.tenant_id == self._rows.tenant_id, run_id.in_(run_ids)
            query = select(type_coerce(column, Text)).where(*mine, column.is_not(None))
            for (text,) in self._rows.select(query):
                yield text

    def _of_tenant(
        self, column: Column[Any], wanted: ColumnElement[str], *where: Condition
    ) -> set[str]:
        mine = column.table.c.tenant_id == self._rows.tenant_id
        return {one for (one,) in self._rows.select(select(wanted).where(mine, *where).distinct())}
