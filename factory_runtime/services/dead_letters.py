"""What people do with dead letters but for sending them round again: find and discard them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus
from factory_runtime.domain.errors import (
    ConflictError,
    DeadLetterNotFoundError,
    FactoryError,
    InputError,
    TransientError,
)
from factory_runtime.domain.run import Run
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.letters import ALL, close_letter
from factory_runtime.services.undo_run import request_undo

PAGE = 200
"""Letters of a group that are read at once."""

DISCARD = "dead-letter.discard"
"""What the audit calls discarding a letter."""

_SHORTEST = 6
_PREFIX = re.compile(rf"[0-9a-f]{{{_SHORTEST},64}}")


@dataclass(frozen=True, slots=True)
class Discarded:
    """What came of discarding a group.

    Attributes:
        letters: how many were discarded.
        refused: how many could not be.
        error: why not, for the last of them.
    """

    letters: int = 0
    refused: int = 0
    error: FactoryError | None = None


def find_fingerprint(
    store: RunStore, tenant_id: str, prefix: str, projects: Collection[str] | None = None
) -> str:
    """The fingerprint that begins like this, of a kind of failure that the tenant has seen.

    Args:
        store: the record.
        tenant_id: whose letters.
        prefix: its first 6 hex digits or more.
        projects: that it was seen in; None is any.

    Raises:
        InputError: it is no such prefix, or more than one begins like it.
        DeadLetterNotFoundError: none does.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"{prefix!r} is no fingerprint",
            hint=f"give the first {_SHORTEST} of its digits or more, as the list shows them",
        )
    if len(prefix) == 64:
        return prefix
    with store.begin(tenant_id, read_only=True) as tx:
        found = tx.find_fingerprints(prefix, limit=2, projects=projects)
    if not found:
        raise DeadLetterNotFoundError(
            f"no dead letters have a fingerprint like {prefix}",
            hint="`factory dead-letters list` shows them",
        )
    only, *others = found
    if others:
        raise InputError(
            f"several fingerprints begin with {prefix}", hint="give more of its digits"
        )
    return only


def count_expected(tx: RunTransaction, where: LetterFilter, expected: int | None) -> int:
    """How many letters pass.

    Raises:
        ConflictError: a number was expected, and it is another.
    """
    found = tx.count_dead_letters(where)
    if expected is not None and expected != found:
        raise ConflictError(
            f"{found} letters are chosen by now, not {expected}",
            hint="look at the preview again",
        )
    return found


def discard(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    letter_id: str,
    by: str,
    reason: str,
    *,
    undo: bool = False,
) -> DeadLetter:
    """Close an open letter: nobody will send it round again.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose letter.
        letter_id: which.
        by: who says so.
        reason: why.
        undo: whether what its run did is taken back; the run's other open letters go with it.

    Raises:
        DeadLetterNotFoundError: no such letter.
        InputError: there is no reason.
        IllegalTransitionError: it is closed already; or, for ``undo``, its run has not ended.
        ConflictError: it is under way again; or its run cannot be undone.
    """
    reason = _reason(reason)
    with store.begin(tenant_id, read_only=True) as tx:
        run_id = tx.get_dead_letter(letter_id).run_id
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        letter = tx.get_dead_letter(letter_id)
        if letter.status is LetterStatus.REDRIVEN:
            raise ConflictError(
                f"dead letter {letter.id} was sent round again, and its run is {run.status}",
                hint=f"wait for its end, or `factory runs cancel {run.id}`",
            )
        _discard(tx, run, [letter], by, reason, clock.now(), undo=undo)
        return tx.get_dead_letter(letter_id)


def discard_group(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    where: LetterFilter,
    by: str,
    reason: str,
    *,
    undo: bool = False,
) -> Discarded:
    """Close the letters that pass and are open now, those of each run in a transaction of its own.

    One that cannot be discarded, or is held for too long by somebody else, does not keep the others.

    Raises:
        InputError: there is no reason.
        TransientError: of two runs in a row: the others would fail alike.
    """
    reason = _reason(reason)
    now = clock.now()
    where = replace(where, statuses=(LetterStatus.OPEN,), run_id=None)
    total, after, is_away = Discarded(), None, False
    while True:
        with store.begin(tenant_id, read_only=True) as tx:
            page = tx.list_dead_letters(where, limit=PAGE, after=after)
        if not page:
            return total
        after = page[-1]
        for run_id in dict.fromkeys(letter.run_id for letter in page):
            try:
                with store.begin(tenant_id) as tx:
                    run = tx.lock_run(run_id)
                    letters = tx.list_dead_letters(replace(where, run_id=run_id), limit=ALL)
                    count = _discard(tx, run, letters, by, reason, now, undo=undo)
                total = replace(total, letters=total.letters + count)
                is_away = False
            except FactoryError as error:
                if is_away and isinstance(error, TransientError):
                    raise
                is_away = isinstance(error, TransientError)
                total = replace(total, refused=total.refused + 1, error=error)


def _discard(
    tx: RunTransaction,
    run: Run,
    letters: list[DeadLetter] | tuple[DeadLetter, ...],
    by: str,
    reason: str,
    now: datetime,
    *,
    undo: bool,
) -> int:
    """Close these letters of a run whose row is held; how many."""
    if undo and letters:
        request_undo(tx, run, by, now)
        others = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=ALL)
        letters = tuple({letter.id: letter for letter in (*letters, *others)}.values())
    for letter in letters:
        close_letter(tx, letter, by, reason, now)
        detail = {"reason": reason, "run_id": run.id, "step": letter.step, "undo": undo}
        leave_audit(tx, by, DISCARD, letter.id, detail, now)
    return len(letters)


def _reason(reason: str) -> str:
    if not reason.strip():
        raise InputError("a dead letter is discarded for a reason", hint="say why, in a few words")
    return reason.strip()
