"""Work patterns out anew from what was observed, when more was, or something is forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from factory_runtime.domain.failure_pattern import fold_failure
from factory_runtime.domain.memory import Kind, Memory, Observation, ObservationKind
from factory_runtime.domain.success_pattern import fold_success
from factory_runtime.ports import RunTransaction
from factory_runtime.services.drop_memories import drop_memories
from factory_runtime.services.failure_lines import is_line, line_id, lines_since, tries_behind
from factory_runtime.services.failure_patterns import memory_of_failure
from factory_runtime.services.success_patterns import memory_of_success

_NEWEST: Mapping[ObservationKind, int] = {
    ObservationKind.FAILED: 500,
    ObservationKind.TRIED: 500,
    ObservationKind.ENDED: 250,
}
"""Observations that a pattern is made of: what is older tells of another time."""

_K = ObservationKind
_PATTERNS = (Kind.FAILURE, Kind.SUCCESS)


def refold(tx: RunTransaction, subjects: Iterable[str], now: datetime) -> tuple[str, ...]:
    """Make the patterns of these subjects anew, after observations of theirs were deleted.

    What a forgotten run had shown another one may show too: that is looked for again. What was tried
    against a failure that nobody has had any more goes with it: it tells of the failure. Subjects
    that are no pattern's, like a piece of code, are left alone. Call ``take_turn`` before anything
    else.

    Returns:
        Ids of memories that are no more.
    """
    subjects = list(subjects)
    for subject in subjects:
        if is_line(subject):
            continue
        if tx.list_observations(subject=subject, kind=_K.FAILED, limit=1):
            tx.add_observations(_lost_tries(tx, subject))
        else:
            tx.delete_observations(subject=subject, kind=_K.TRIED)
    return fold(tx, subjects, now)


def fold(tx: RunTransaction, subjects: Iterable[str], now: datetime) -> tuple[str, ...]:
    """As ``refold``, where nothing was deleted."""
    write: list[Memory] = []
    gone: list[str] = []
    for subject in sorted({one for one in subjects if not is_line(one)}):
        memory = _memory_of(tx, subject, now)
        if memory is None:
            gone.append(subject)
        else:
            write.append(memory)
    tx.save_memories(write)
    return _delete(tx, gone, now)


def as_taught_to(
    tx: RunTransaction, memory: Memory, projects: tuple[str, ...] | None
) -> Memory | None:
    """The memory as who sees these projects may see it; None where they may not, or cannot tell.

    A pattern that several projects have taught is what the visible ones would have taught alone: of
    the others it tells nothing. ``projects`` is None for who sees all.
    """
    if projects is None:
        return memory
    if memory.project_id is not None:
        return memory if memory.project_id in projects else None
    if memory.kind not in _PATTERNS:
        return memory
    taught = _memory_of(tx, memory.id, memory.created_at, projects)
    if taught is None:
        return None
    return replace(taught, changed_at=datetime.fromisoformat(taught.facts["last_seen"]))


def _memory_of(
    tx: RunTransaction, subject: str, now: datetime, projects: tuple[str, ...] | None = None
) -> Memory | None:
    failed, tried, ended = (
        seen(tx, subject, kind, projects) for kind in (_K.FAILED, _K.TRIED, _K.ENDED)
    )
    failure = fold_failure([*failed, *tried])
    if failure is not None:
        return memory_of_failure(failure, now)
    success = fold_success(ended)
    if success is None or not success.holds:
        return None
    return memory_of_success(success, now)


def seen(
    tx: RunTransaction,
    subject: str,
    kind: ObservationKind,
    projects: tuple[str, ...] | None = None,
) -> tuple[Observation, ...]:
    """What was observed of a subject: as much as patterns are made of."""
    return tx.list_observations(subject=subject, kind=kind, projects=projects, limit=_NEWEST[kind])


def _lost_tries(tx: RunTransaction, subject: str) -> list[Observation]:
    failed = seen(tx, subject, _K.FAILED)
    lines = {line_id(one.tenant_id, one.project_id, str(one.facts["template"])) for one in failed}
    return [one for line in sorted(lines) for one in tries_behind(lines_since(tx, line), subject)]


def _delete(tx: RunTransaction, ids: Collection[str], now: datetime) -> tuple[str, ...]:
    """Of the memories, those that are patterns; the indexes follow by the outbox."""
    stale = [memory for memory in tx.find_memories(ids) if memory.kind in _PATTERNS]
    drop_memories(tx, stale, now)
    return tuple(memory.id for memory in stale)
