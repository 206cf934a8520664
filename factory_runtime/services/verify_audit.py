"""Walk a tenant's chain and tell whether its audit is what was sealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from factory_runtime.domain.audit import AuditSeal, Break, Head, Tampering, seal_digest
from factory_runtime.domain.errors import CorruptStoreError
from factory_runtime.domain.records import AuditEntry
from factory_runtime.ports import RunStore, RunTransaction

_PAGE = 500

Entries = Mapping[str, AuditEntry | None]
"""By id; None where one is there and cannot be read."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        head: how far the chain was good; None where nothing is sealed.
        unsealed: entries that wait for their seal; ``unsealed_since`` is the time of the first.
        broken: the first place where it is not what was sealed; None where it is.
    """

    head: Head | None
    unsealed: int
    unsealed_since: datetime | None
    broken: Break | None


def verify_audit(store: RunStore, tenant_id: str, noted: Head | None = None) -> Verdict:
    """Walk the whole chain, in pages; entries may be left and sealed meanwhile.

    Whoever may write to the database can write a whole chain anew, and take away its end: that is
    seen only by a head that was noted elsewhere.

    Args:
        store: the record.
        tenant_id: whose audit.
        noted: a head that it has had.
    """
    head, broken = _walk(store, tenant_id, noted)
    with store.begin(tenant_id, read_only=True) as tx:
        waiting, first = tx.count_unsealed(), _readable(lambda: tx.unsealed_audit(1))
        if broken is None:
            broken = _find_stray(tx) or _find_lost(tx)
    return Verdict(head, waiting, first[0].at if first else None, broken)


def _walk(store: RunStore, tenant_id: str, noted: Head | None) -> tuple[Head | None, Break | None]:
    head: Head | None = None
    while True:
        with store.begin(tenant_id, read_only=True) as tx:
            after = 0 if head is None else head.number
            seals = _readable(partial(tx.list_seals, after=after, limit=_PAGE))
            entries = _entries(tx, seals)
        if seals is None:
            return head, Break(
                Tampering.CHANGED, after + 1, None, f"the seals after {after} cannot be read"
            )
        for place, seal in enumerate(seals):
            broken = _look(head, seals[place:], entries)
            if broken is not None:
                return head, broken
            head = seal.head
            if noted is not None and noted.number == head.number and noted != head:
                return head, Break(
                    Tampering.CHANGED,
                    seal.number,
                    seal.entry_id,
                    f"seal {seal.number} is not the one that was noted: the chain was written anew",
                )
        if len(seals) < _PAGE:
            return head, _cut_off(head, noted)


def _look(head: Head | None, seals: Sequence[AuditSeal], entries: Entries) -> Break | None:
    """Whether the first of these seals follows on the head, and its entry is what was sealed."""
    seal, number = seals[0], 1 if head is None else head.number + 1
    before = "" if head is None else head.digest
    if seal.number != number:
        return Break(Tampering.REMOVED, number, None, f"seal {number} was removed")
    entry = entries.get(seal.entry_id)
    if entry is not None and _fits(before, number, seal, entry):
        return None
    rightful = next((one for one in seals[1:] if _stands_for(one, before, seal, entries)), None)
    if rightful is not None:
        at = f"{rightful.entry_id} stands at {rightful.number} and was sealed as {number}"
        return Break(Tampering.REORDERED, number, seal.entry_id, at)
    if seal.entry_id not in entries:
        message = f"entry {seal.entry_id}, sealed as {number}, was removed"
        return Break(Tampering.REMOVED, number, seal.entry_id, message)
    message = f"entry {seal.entry_id} is not what was sealed as {number}"
    return Break(Tampering.CHANGED, number, seal.entry_id, message)


def _fits(before: str, number: int, seal: AuditSeal, entry: AuditEntry) -> bool:
    return seal_digest(before, number, seal.sealed_at, entry) == seal.digest


def _stands_for(other: AuditSeal, before: str, seal: AuditSeal, entries: Entries) -> bool:
    """Whether the other's entry was sealed where this seal stands, by its own seal or by this."""
    entry = entries.get(other.entry_id)
    if entry is None:
        return False
    return any(_fits(before, seal.number, one, entry) for one in (other, seal))


def _cut_off(head: Head | None, noted: Head | None) -> Break | None:
    last = 0 if head is None else head.number
    if noted is None or noted.number <= last:
        return None
    message = f"the chain ends at {last}, and had {noted.number} seals"
    return Break(Tampering.REMOVED, last + 1, None, message)


def _find_stray(tx: RunTransaction) -> Break | None:
    strays = _readable(lambda: tx.stray_audit(1))
    if strays is None:
        message = "an entry that was never sealed cannot be read"
        return Break(Tampering.INSERTED, None, None, message)
    if not strays:
        return None
    message = f"entry {strays[0].id} has no seal and waits for none"
    return Break(Tampering.INSERTED, None, strays[0].id, message)


def _find_lost(tx: RunTransaction) -> Break | None:
    lost = tx.lost_audit(1)
    if not lost:
        return None
    message = f"entry {lost[0]}, which waited for its seal, was removed"
    return Break(Tampering.REMOVED, None, lost[0], message)


def _entries(tx: RunTransaction, seals: Sequence[AuditSeal] | None) -> Entries:
    """What the seals name, without what is no entry any more."""
    ids = [seal.entry_id for seal in seals or ()]
    found = _readable(lambda: tx.find_audit(ids))
    if found is not None:
        return {entry.id: entry for entry in found}
    one_by_one = {one: _readable(partial(tx.find_audit, [one])) for one in ids}
    return {one: some[0] if some else None for one, some in one_by_one.items() if some != ()}


def _readable(read: Callable[[], T]) -> T | None:
    """None where there is a row that we cannot have written."""
    try:
        return read()
    except CorruptStoreError:
        return None
