"""The page of one dead letter: why, what it was told, what was tried, what can be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from cli.as_json import to_json, without
from cli.door import Door
from cli.letter_hints import hints_as_json, show_hints
from cli.run_page import show_attempts
from cli.text import local_time
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus
from factory_runtime.domain.failure_hints import FailureHints
from factory_runtime.domain.records import AuditEntry
from factory_runtime.domain.redaction import redact
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.commands import for_tenant

_SHOWN = 12


@dataclass(frozen=True)
class LetterFacts:
    """A dead letter with all that belongs to it.

    Attributes:
        alike: open letters of its kind, itself among them.
        tried: what people did with it, the oldest first.
        hints: what is known of failures like it.
        next: what can be done now: a command, and what it does.
    """

    letter: DeadLetter
    run: Run
    with_: Any
    traceback: str | None
    attempts: tuple[Attempt, ...]
    alike: int
    tried: tuple[AuditEntry, ...]
    hints: FailureHints
    next: tuple[tuple[str, str], ...]


def read_letter(door: Door, letter_id: str) -> LetterFacts:
    """Read a dead letter and all that belongs to it.

    Raises:
        DeadLetterNotFoundError: no such letter.
    """
    with door.desk.reading() as tx:
        letter = tx.get_dead_letter(letter_id)
        run = tx.get_run(letter.run_id)
        attempts = tx.list_attempts(run.id, letter.step)
        alike = tx.count_dead_letters(LetterFilter(fingerprint=letter.fingerprint))
        undoing = tx.find_undoing_run(run.id)
    tried = door.desk.tried_with(letter)
    traceback = door.desk.value_of(letter.traceback)
    undone = undoing is not None or run.undo_requested_by is not None
    return LetterFacts(
        letter=letter,
        run=run,
        with_=door.desk.value_of(letter.with_),
        traceback=None if traceback is None else str(traceback),
        attempts=attempts,
        alike=alike,
        tried=tried,
        hints=door.desk.hints_of(letter),
        next=tuple(
            (door.desk.typed(for_tenant(command, letter.tenant_id)), what)
            for command, what in _next(letter, run, alike, undone=undone)
        ),
    )


def letter_as_json(facts: LetterFacts) -> dict[str, Any]:
    """The whole of it, for another program."""
    return {
        "letter": without(facts.letter, "with_", "traceback"),
        "run": {"id": facts.run.id, "status": facts.run.status, "cycle": facts.run.cycle},
        "with": to_json(facts.with_),
        "traceback": facts.traceback,
        "attempts": [without(attempt, "traceback") for attempt in facts.attempts],
        "alike": facts.alike,
        "tried": to_json(facts.tried),
        "hints": hints_as_json(facts.hints),
        "next": [{"command": command, "what": what} for command, what in facts.next],
    }


def show_letter(door: Door, facts: LetterFacts) -> None:
    """All there is to know about a dead letter."""
    screen, letter = door.screen, facts.letter
    screen.facts(_facts(facts))
    screen.heading("Error")
    screen.line(letter.error, "bad")
    # A terminal is looked at by more people than the one who typed a password.
    shown = cast(Mapping[str, Any], redact(facts.with_ or {}))
    if shown:
        screen.heading("What it was told")
        screen.facts((name, _spelled(value)) for name, value in shown.items())
    if facts.attempts:
        screen.heading("Attempts")
        show_attempts(door, facts.attempts)
    if facts.traceback is not None:
        screen.heading("Traceback")
        screen.line(facts.traceback.rstrip(), "dim")
    if facts.tried:
        screen.heading("What was tried")
        screen.facts((local_time(entry.at), _entry_words(entry)) for entry in facts.tried)
    show_hints(screen, facts.hints)
    if facts.next:
        screen.heading("What can be done")
        screen.facts(facts.next)


def _facts(facts: LetterFacts) -> list[tuple[str, str]]:
    letter, run = facts.letter, facts.run
    closed = ""
    if letter.closed_at is not None:
        closed = f"{local_time(letter.closed_at)} by {letter.closed_by}"
    return [
        ("letter", letter.id),
        ("status", letter.status + (f": {letter.reason}" if letter.reason else "")),
        ("closed", closed),
        ("job", f"{letter.step} of {letter.run_id}"),
        ("type", letter.job_type),
        ("run", run.status + (f", cycle {run.cycle}" if run.cycle else "")),
        ("template", f"{letter.template_id} {letter.template_version}"),
        ("project", letter.project_id),
        ("failed", local_time(letter.failed_at)),
        ("first failed", local_time(letter.first_failed_at) if letter.redrives else ""),
        ("attempts", str(letter.attempts)),
        ("sent round", f"{letter.redrives} time(s)" if letter.redrives else ""),
        ("goes on from", f"checkpoint {letter.checkpoint}" if letter.checkpoint else ""),
        ("fingerprint", f"{letter.fingerprint[:_SHOWN]}, {facts.alike} open of its kind"),
        ("trace", letter.trace_id),
    ]


def _next(letter: DeadLetter, run: Run, alike: int, *, undone: bool) -> tuple[tuple[str, str], ...]:
    me = f"factory dead-letters {{}} {letter.id}"
    close = (f"{me.format('discard')} --reason TEXT", "give it up")
    watch = (f"factory runs watch {run.id}", f"follow its run, which is {run.status}")
    if letter.status is LetterStatus.REDRIVEN:
        return (watch,)
    if letter.status not in (LetterStatus.OPEN, LetterStatus.DISCARDED):
        return ()
    if not run.ended:
        return (watch,)
    if undone or run.status is not RunStatus.FAILED:
        return (close,) if letter.status is LetterStatus.OPEN else ()
    again = (
        (me.format("retry"), "send it round again as it is, when its cause is mended"),
        (f"{me.format('retry')} --set NAME=VALUE", "or with other inputs"),
        (f"{me.format('retry')} --timeout DURATION", "or with more time"),
        (f"{me.format('retry')} --template-version VERSION", "or with a mended template"),
    )
    if letter.status is LetterStatus.DISCARDED:
        return again
    group = f"factory dead-letters retry --fingerprint {letter.fingerprint[:_SHOWN]} --canary"
    whole = ((group, f"all {alike} of its kind, one ahead of the others"),) if alike > 1 else ()
    take_back = (f"{close[0]} --undo", "give it up, and take back what its run made")
    return (*again, *whole, close, take_back)


def _entry_words(entry: AuditEntry) -> str:
    reason = entry.detail.get("reason")
    order = entry.detail.get("order")
    more = f": {reason}" if reason else f" by {order}" if order else ""
    return f"{entry.actor}  {entry.action}{more}"


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
