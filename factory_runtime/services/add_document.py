"""Add what people know: guides, decisions, descriptions of APIs, cut into their sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from factory_runtime.domain.document import MAX_BYTES, MAX_SOURCE, Added, Document
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.piece import Piece
from factory_runtime.domain.redaction import redact_text
from factory_runtime.ports import Clock, Cutter, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.forgotten import refuse_what_is_being_forgotten
from factory_runtime.services.memory_turn import take_turn

_PAGE = 1000


def add_document(
    store: RunStore, clock: Clock, cutter: Cutter, tenant_id: str, document: Document, by: str
) -> Added:
    """Keep a document's sections, each as a memory of its own; added again, nothing changes.

    What an earlier one of the same source said otherwise is superseded by what has its place.

    Raises:
        InputError: there is no text in it, it is over ``MAX_BYTES``, or its source is no name.
        MemoryUnavailableError: its project is being forgotten just now.
    """
    _check(document)
    pieces = cutter.cut(document.source, document.content)
    if not pieces:
        raise InputError(
            f"{document.source} has no text that could be found again",
            hint="Markdown, OpenAPI as YAML or JSON, or plain text of some lines",
        )
    now = clock.now()
    sections = [_memory(tenant_id, document, piece, now) for piece in pieces]
    with store.begin(tenant_id) as tx:
        take_turn(tx, now)
        refuse_what_is_being_forgotten(tx, document.project_id)
        gone = _superseded(tx, document, {section.id: section for section in sections})
        changed = tx.save_memories(sections)
        tx.save_memories([replace(memory, changed_at=now) for memory in gone])
        detail = {"project": document.project_id, "sections": len(sections)}
        leave_audit(tx, by, "memory.add", _place(tenant_id, document), detail, now)
    ids = tuple(section.id for section in sections)
    return Added(document.source, ids, changed, len(gone))


def _check(document: Document) -> None:
    source = document.source
    if not source.strip() or len(source) > MAX_SOURCE or not source.isprintable():
        raise InputError(
            f"a document's source is a name of 1 to {MAX_SOURCE} characters, on one line",
            hint="like docs/adr/0007-queues.md",
        )
    if len(document.content) > MAX_BYTES:
        raise InputError(
            f"{source} has {len(document.content)} bytes, and {MAX_BYTES} are the most",
            hint="add its parts by themselves",
        )


def _place(tenant_id: str, document: Document) -> str:
    """What the sections of all its editions have in common."""
    what = ["document", tenant_id, document.project_id, document.source]
    return f"doc-{digest_of(what)[:32]}"


def _prefix(place: str) -> str:
    """What the ids of its sections begin with: they stand together where memories are listed."""
    return f"mem-{place.removeprefix('doc-')[:16]}"


def _memory(tenant_id: str, document: Document, piece: Piece, now: datetime) -> Memory:
    place = _place(tenant_id, document)
    where = f"{document.source}: {piece.name}" if piece.name else document.source
    return Memory(
        id=f"{_prefix(place)}{digest_of([piece.name, piece.text])[:16]}",
        tenant_id=tenant_id,
        kind=Kind.DOCUMENT,
        title=redact_text(where),
        text=redact_text(f"{piece.name}\n{piece.text}" if piece.name else piece.text),
        created_at=now,
        changed_at=now,
        project_id=document.project_id,
        commit=document.commit,
        path=document.source,
        first_line=piece.first_line,
        last_line=piece.last_line,
        classification=document.classification.value,
        facts={"document": place, "language": piece.language, "name": redact_text(piece.name)},
    )


def _superseded(
    tx: RunTransaction, document: Document, sections: Mapping[str, Memory]
) -> list[Memory]:
    """Sections of before that are not in it any more, each with what has taken its place."""
    by_name = {section.facts["name"]: section.id for section in sections.values()}
    first = next(iter(sections))
    return [
        replace(memory, superseded_by=by_name.get(memory.facts.get("name"), first))
        for memory in _editions(tx, document)
        if memory.id not in sections and memory.superseded_by not in sections
    ]


def _editions(tx: RunTransaction, document: Document) -> Sequence[Memory]:
    prefix = _prefix(_place(tx.tenant_id, document))
    found: list[Memory] = []
    page = tx.list_memories(kind=Kind.DOCUMENT, limit=_PAGE, after_id=prefix)
    while of_document := [memory for memory in page if memory.id.startswith(prefix)]:
        found += of_document
        page = tx.list_memories(kind=Kind.DOCUMENT, limit=_PAGE, after_id=found[-1].id)
    return found
