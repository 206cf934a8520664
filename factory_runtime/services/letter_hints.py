"""What is known of a dead letter's failure: its own kind from the record, similar ones recalled."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from factory_runtime.domain.dead_letter import DeadLetter
from factory_runtime.domain.failure_hints import FailureHints, KnownFailure
from factory_runtime.domain.fingerprint import fingerprint
from factory_runtime.domain.memory import Collection, Kind, Memory, Recalled
from factory_runtime.domain.redaction import redact_text
from factory_runtime.ports import RecallQuery, RunTransaction
from factory_runtime.services.ask_memory import Recall, ask_memory
from factory_runtime.services.failure_patterns import find_failure_memory_id, resolutions_of
from factory_runtime.services.refold import as_taught_to

MINIMUM = 0.5
"""Of likeness: all failures read somewhat alike."""

_SHOWN = 3
_LOOKED_AT = 8000


@dataclass(frozen=True, slots=True)
class Looked:
    """What the record has of a failure's kind.

    Attributes:
        has_others: whether any other kind of failure is remembered at all.
    """

    same: Memory | None
    has_others: bool


def look_up(
    tx: RunTransaction, letter: DeadLetter, projects: tuple[str, ...] | None = None
) -> Looked:
    """The letter's own kind, and whether it is worth looking for others.

    ``projects`` are those that whoever asks may see; None is all.
    """
    id_ = find_failure_memory_id(letter.tenant_id, letter.fingerprint)
    same = next((as_taught_to(tx, one, projects) for one in tx.find_memories([id_])), None)
    first = tx.list_memories(kind=Kind.FAILURE, limit=2)
    return Looked(same, any(one.id != id_ for one in first))


def hints_of(
    letter: DeadLetter, looked: Looked, recall: Recall, projects: tuple[str, ...] | None = None
) -> FailureHints:
    """What may help with the letter: it never fails, and takes no longer than ``PATIENCE``."""
    same = None
    if looked.same is not None:
        same = KnownFailure(Recalled(looked.same, 1.0, 1.0, 1.0), resolutions_of(looked.same))
    if not looked.has_others:
        return FailureHints(same)
    query = RecallQuery(
        text=_words_of(letter, looked.same),
        collections=(Collection.RUNS,),
        kinds=(Kind.FAILURE,),
        projects=projects,
        limit=_SHOWN + 1,
    )
    told = ask_memory(recall, letter.tenant_id, query, threading.Event())
    own = find_failure_memory_id(letter.tenant_id, letter.fingerprint)
    others = [
        KnownFailure(one, resolutions_of(one.memory))
        for one in told.found
        if one.memory.id != own and one.likeness >= MINIMUM
    ]
    return FailureHints(same, tuple(others[:_SHOWN]), told.trouble)


def _words_of(letter: DeadLetter, same: Memory | None) -> str:
    """The failure in the words that memory keeps it in."""
    symptom = "" if same is None else str(same.facts.get("symptom", ""))
    if not symptom:
        harmless = redact_text(letter.error[:_LOOKED_AT])
        names = (letter.run_id, letter.step, letter.project_id, letter.tenant_id)
        _, symptom = fingerprint(letter.error_code, harmless, letter.job_type, names=names)
    return f"{letter.job_type} failed with {letter.error_code}: {symptom}"
