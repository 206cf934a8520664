"""The run store's transaction: what was learned, what the index has of it, and its vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select

from factory_runtime.domain.errors import StaleVersionError
from factory_runtime.domain.memory import Collection as MemoryCollection
from factory_runtime.domain.memory import (
    Kind,
    Memory,
    MemoryModel,
    MemoryVector,
    digest_of_text,
)
from factory_runtime.domain.tally import LOST, Tally
from factory_runtime.ports import Line
from factory_runtime.run_store.column_types import clean_text
from factory_runtime.run_store.numbers import unindexed
from factory_runtime.run_store.paging import equal
from factory_runtime.run_store.records import (
    MEMORIES,
    MODELS,
    TALLIES,
    VECTORS,
)
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import (
    memory_models,
    memory_records,
    memory_tallies,
    memory_vectors,
)

_AT_ONCE = 500
"""Values in one question: SQLite takes some thousands, and each costs time to bind."""

_KEPT_BY_THE_STORE = ("created_at", "changed_at", "revision", "indexed_at", "prose")

_columns = memory_records.c
_KNOWN = func.length(_columns.kind) > 0
"""Not those that the release before has written since: ``_adopt`` makes them known.

Said so that no database takes it for what to look them up by: it is true of nearly all.
"""

_UNADOPTED = or_(_columns.kind.is_(None), _columns.created_at > _columns.changed_at)
"""The release before gives what it writes a new time of creation, and knows of no other."""


class Memories:
    """Part of ``ports.MemoryRecords``; the other is ``Experience``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    # what was learned

    def save_memories(self, memories: Iterable[Memory]) -> int:
        """See the port.

        Raises:
            StaleVersionError: somebody else changed one of them at the same moment.
        """
        latest = {memory.id: _clean(memory) for memory in memories}
        before = {memory.id: memory for memory in self.find_memories(latest)}
        changed = 0
        orphans = set[str]()
        for memory in sorted(latest.values(), key=lambda one: one.id):
            old = before.get(memory.id)
            if old is None:
                new = replace(memory, revision=1, indexed_at=None, changed_at=_changed_at(memory))
                changed += self._rows.insert_if_absent(MEMORIES, new) or self._save(new)
            elif not self._rows.same(MEMORIES, old, memory, but_for=_KEPT_BY_THE_STORE):
                self._change(old, memory)
                changed += 1
                orphans |= {old.text_digest} - {memory.text_digest}
        self.drop_unused_vectors(orphans)
        return changed

    def find_memories(self, ids: Collection[str]) -> tuple[Memory, ...]:
        found: list[Memory] = []
        for some in parts(ids):
            found += self._rows.list(MEMORIES, _columns.id.in_(some), _KNOWN)
        return tuple(sorted(found, key=lambda memory: memory.id))

    def list_memories(
        self,
        *,
        kind: Kind | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        template_id: str | None = None,
        limit: int = 1000,
        after_id: str | None = None,
    ) -> tuple[Memory, ...]:
        where = equal(
            (_columns.kind, kind),
            (_columns.run_id, run_id),
            (_columns.project_id, project_id),
            (_columns.template_id, template_id),
        )
        if after_id is not None:
            where.append(_columns.id > after_id)
        return self._rows.list(MEMORIES, _KNOWN, *where, order_by=(_columns.id,), limit=limit)

    def count_memories(self) -> Mapping[Kind, int]:
        return {
            kind: count
            for kind in Kind
            if (count := self._rows.count(MEMORIES, _columns.kind == kind))
        }

    def delete_memories(self, ids: Collection[str]) -> None:
        for some in parts(ids):
            found = self._rows.list(MEMORIES, _columns.id.in_(some), _KNOWN)
            self._rows.delete(MEMORIES, _columns.id.in_(some))
            self._drop_orphans({memory.text_digest for memory in found})

    def save_prose(self, memory: Memory, prose: str) -> None:
        without = (_columns.id == memory.id, _columns.prose.is_(None))
        revision, changed_at, text_digest = memory.edition
        edition = equal(
            (_columns.revision, revision),
            (_columns.changed_at, changed_at),
            (_columns.text_digest, text_digest),
        )
        self._rows.update(MEMORIES, {"prose": clean_text(prose)}, *without, *edition)
        self._rows.delete(TALLIES, memory_tallies.c.about == memory.text_digest)

    def memories_without_prose(
        self, kinds: Collection[Kind], now: datetime, limit: int
    ) -> tuple[Memory, ...]:
        left_alone = exists().where(
            memory_tallies.c.tenant_id == _columns.tenant_id,
            memory_tallies.c.about == _columns.text_digest,
            memory_tallies.c.until > now,
        )
        without, order = _columns.prose.is_(None), (_columns.changed_at.desc(), _columns.id.desc())
        found: list[Memory] = []
        # Kind by kind, each is a look at the end of an index.
        for kind in kinds:
            where = (_columns.kind == kind, without, ~left_alone)
            found += self._rows.list(MEMORIES, *where, order_by=order, limit=limit)
        return tuple(
            sorted(found, key=lambda one: (_changed_at(one), one.id), reverse=True)[:limit]
        )

    def find_tally(self, about: str) -> Tally | None:
        return self._rows.find(TALLIES, about=about)

    def save_tally(self, tally: Tally) -> None:
        self._rows.put(TALLIES, tally, key=("tenant_id", "about"))

    def _change(self, old: Memory, memory: Memory) -> None:
        """The next revision, of a memory that is still the one that was read."""
        row = MEMORIES.row_of(memory)
        changes = {name: row[name] for name in row if name not in {"tenant_id", "id", "created_at"}}
        changes |= {
            "revision": old.revision + 1,
            "indexed_at": None,
            "changed_at": _changed_at(memory),
            "prose": old.prose if old.text_digest == memory.text_digest else None,
        }
        if not self._rows.update(
            MEMORIES, changes, _columns.id == old.id, _columns.revision == old.revision
        ):
            raise StaleVersionError(f"memory {old.id} changed meanwhile", hint="do it again")

    def _save(self, memory: Memory) -> bool:
        """One that somebody else has inserted since it was looked for."""
        return self.save_memories([memory]) == 1

    def _drop_orphans(self, digests: Collection[str]) -> None:
        """What is kept of texts that no memory has any more."""
        vectors, tallies = memory_vectors.c, memory_tallies.c
        unread = ~_has_text(vectors.tenant_id, vectors.text_digest)
        self._rows.delete(VECTORS, vectors.text_digest.in_(digests), unread)
        unread = ~_has_text(tallies.tenant_id, tallies.about)
        self._rows.delete(TALLIES, tallies.about.in_(digests), unread)

    # what the index has of it

    def unindexed_memories(self, limit: int) -> tuple[Memory, ...]:
        waits = _columns.indexed_at.is_(None)
        self._adopt(_columns.kind.is_(None), waits)
        return self._listed(waits, order_by=(_columns.changed_at, _columns.id), limit=limit)

    def unindexed_line(self) -> Line | None:
        query = unindexed(_columns.tenant_id == self._rows.tenant_id)
        ((count, waits_since),) = self._rows.select(query)
        return Line(count, waits_since) if count else None

    def unadopted_memories(self, limit: int) -> tuple[str, ...]:
        mine = _columns.tenant_id == self._rows.tenant_id
        query = select(_columns.id).where(mine, _UNADOPTED).limit(limit)
        return tuple(id_ for (id_,) in self._rows.select(query))

    def adopt_memories(self, ids: Collection[str]) -> int:
        return sum(self._adopt(_UNADOPTED, _columns.id.in_(some)) for some in parts(ids))

    def mark_indexed(self, memories: Iterable[Memory], at: datetime) -> None:
        for memory in memories:
            self._change_edition(memory, {"indexed_at": at})

    def mark_unindexed(self, ids: Collection[str]) -> None:
        indexed = _columns.indexed_at.is_not(None)
        for some in parts(ids):
            self._rows.update(MEMORIES, {"indexed_at": None}, indexed, _columns.id.in_(some))

    def mark_all_unindexed(self, at: datetime) -> None:
        self._rows.update(MEMORIES, {"indexed_at": None}, _columns.indexed_at.is_not(None))
        self.save_tally(Tally(self._rows.tenant_id, LOST, 0, at))

    def _change_edition(self, memory: Memory, changes: Mapping[str, Any]) -> None:
        """Where it is still the one that was read."""
        revision, changed_at, text_digest = memory.edition
        edition = {"revision": revision, "changed_at": changed_at, "text_digest": text_digest}
        self._rows.change(MEMORIES, changes, id=memory.id, **edition)

    def _listed(
        self, *where: Condition, order_by: Sequence[ColumnElement[Any]], limit: int
    ) -> tuple[Memory, ...]:
        """Memories whose digest is that of their text: the release before knows of no digest."""
        found = self._rows.list(MEMORIES, _KNOWN, *where, order_by=order_by, limit=limit)
        digests = {one.id: one.text_digest for one in found}
        stale: list[str] = []
        for some in parts(digests):
            mine = (_columns.tenant_id == self._rows.tenant_id, _columns.id.in_(some))
            kept = self._rows.select(select(_columns.id, _columns.text_digest).where(*mine))
            stale += [id_ for id_, digest in kept if digest != digests[id_]]
        if not stale:
            return found
        self._adopt(_columns.id.in_(stale), limit=len(stale))
        return self._rows.list(MEMORIES, _KNOWN, *where, order_by=order_by, limit=limit)

    def _adopt(self, *where: Condition, limit: int = _AT_ONCE) -> int:
        """Fill in what the release before leaves as it was: how many memories.

        It may be at work until all are upgraded.
        """
        mine = (_columns.tenant_id == self._rows.tenant_id, *where)
        query = select(
            _columns.id,
            _columns.text,
            _columns.text_digest,
            _columns.kind,
            _columns.collection,
            _columns.created_at,
            _columns.changed_at,
            _columns.revision,
        )
        rows = self._rows.select(query.where(*mine).limit(limit))
        for row in rows:
            is_template = row.collection is MemoryCollection.TEMPLATES
            changes = {
                "kind": row.kind or (Kind.TEMPLATE if is_template else Kind.RUN),
                "text_digest": digest_of_text(row.text),
                "changed_at": max(row.created_at, row.changed_at or row.created_at),
                "revision": row.revision + (row.kind is not None),
                "indexed_at": None,
                "prose": None,
            }
            self._rows.update(MEMORIES, changes, _columns.id == row.id)
        self.drop_unused_vectors({row.text_digest for row in rows if row.text_digest})
        return len(rows)

    # vectors

    def save_vectors(self, vectors: Iterable[MemoryVector]) -> None:
        unique = {(one.model, one.text_digest): one for one in vectors}
        self._rows.insert_where_absent(VECTORS, unique.values())

    def find_vectors(self, model: str, digests: Collection[str]) -> Mapping[str, tuple[float, ...]]:
        columns = memory_vectors.c
        found: dict[str, tuple[float, ...]] = {}
        for some in parts(digests):
            where = (columns.model == model, columns.text_digest.in_(some))
            found |= {one.text_digest: one.vector for one in self._rows.list(VECTORS, *where)}
        return found

    def memories_without_vector(self, model: str, limit: int) -> tuple[Memory, ...]:
        return self._listed(~_has_vector(model), order_by=(_columns.id,), limit=limit)

    def count_vectors(self, model: str) -> int:
        return self._rows.count(MEMORIES, _KNOWN, _has_vector(model))

    def drop_vectors(self, model: str) -> None:
        self._rows.delete(VECTORS, memory_vectors.c.model == model)

    def drop_unused_vectors(self, digests: Collection[str]) -> None:
        for some in parts(digests):
            self._drop_orphans(some)

    def unused_vectors(self, limit: int) -> tuple[str, ...]:
        columns = memory_vectors.c
        unread = ~_has_text(columns.tenant_id, columns.text_digest)
        mine = columns.tenant_id == self._rows.tenant_id
        query = select(columns.text_digest).where(mine, unread).distinct().limit(limit)
        return tuple(digest for (digest,) in self._rows.select(query))

    # models

    def list_models(self) -> tuple[MemoryModel, ...]:
        order = (memory_models.c.begun_at, memory_models.c.model)
        return self._rows.list(MODELS, order_by=order)

    def save_model(self, model: MemoryModel) -> None:
        self._rows.put(MODELS, model, key=("tenant_id", "model"))

    def drop_model(self, model: str) -> None:
        self._rows.delete(MODELS, memory_models.c.model == model)


def _has_text(tenant_id: ColumnElement[str], digest: ColumnElement[str]) -> Condition:
    """Some memory of the tenant."""
    return exists().where(_columns.tenant_id == tenant_id, _columns.text_digest == digest)


def _has_vector(model: str) -> Condition:
    return exists().where(
        memory_vectors.c.tenant_id == _columns.tenant_id,
        memory_vectors.c.model == model,
        memory_vectors.c.text_digest == _columns.text_digest,
    )


def _changed_at(memory: Memory) -> datetime:
    return memory.changed_at or memory.created_at


def _clean(memory: Memory) -> Memory:
    """As the database will give it back: a digest is of that text."""
    return replace(memory, title=clean_text(memory.title), text=clean_text(memory.text))


def parts(values: Collection[str]) -> Iterable[Sequence[str]]:
    """So many that one question takes them."""
    in_order = sorted(set(values))
    return (in_order[begin : begin + _AT_ONCE] for begin in range(0, len(in_order), _AT_ONCE))
