"""Why a run stands where it does, in words: what it was asked, what it waits for, its place."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cli.as_json import to_json
from cli.door import Door
from cli.text import moment, one_line, ordinal
from factory_runtime.domain.approval import ApprovalStatus, spell_deciders
from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.services.standing import Reason, ReasonKind, is_held

__all__ = ["NOBODY", "is_held", "reasons_of", "standing", "whole_standing"]

NOBODY = "nothing executes it here: `factory up` does"

_LOOK_EVERY = 1.0
_NAMED = 5
"""Runs that are named of those that hold a limit."""

_K = ReasonKind


def standing(door: Door, run: Run, jobs: Iterable[Job] = ()) -> str:
    """What keeps an open run from going on; nothing where it is under way or has ended.

    Args:
        door: the command's.
        run: which.
        jobs: of the run: what they wait for is told.
    """
    now = door.desk.now()
    return run_words([r for r in reasons_of(door, run, jobs) if r.kind is not _K.NOBODY], now)


def whole_standing(door: Door, run: Run, jobs: Iterable[Job] = ()) -> str:
    """The standing, and whether nobody is there to change it."""
    return run_words(reasons_of(door, run, jobs), door.desk.now())


def reasons_of(door: Door, run: Run, jobs: Iterable[Job] = ()) -> tuple[Reason, ...]:
    """What keeps a run and its jobs; those that are at work are told of too."""
    return door.desk.reasons_of(run, jobs)


def run_words(reasons: Iterable[Reason], now: datetime) -> str:
    """What keeps the run itself, on one line."""
    return "; ".join(_words(one, now) for one in reasons if one.step is None)


def reason_lines(reasons: Iterable[Reason], now: datetime) -> list[str]:
    """Each reason with who holds it and what would change it; nothing of jobs that are at work."""
    return [line for one in reasons if one.kind is not _K.AT_WORK for line in _lines(one, now)]


def reasons_as_json(reasons: Iterable[Reason]) -> list[Any]:
    """The reasons, for another program."""
    return [to_json(one) for one in reasons]


def short_standings(door: Door, waits: Mapping[str, Sequence[Reason]]) -> Mapping[str, str]:
    """In a word or two, by id, what keeps those of the runs that something keeps."""
    if not waits:
        return {}
    now = door.desk.now()
    with door.desk.reading() as tx:
        asked = {one.run_id for one in tx.list_approvals(status=ApprovalStatus.OPEN, limit=1000)}
    found: dict[str, str] = {}
    for run_id, reasons in waits.items():
        words = [_short(one, now) for one in reasons if one.kind is not _K.NOBODY]
        if run_id in asked and any(one.kind is _K.TIME for one in reasons):
            words = ["approval"]
        if words:
            found[run_id] = words[0]
    return found


class Standing:
    """The same, now and then, for those who watch."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._next = 0.0

    def look(self, run: Run, jobs: Iterable[Job]) -> str | None:
        """The words; None where a look was only just taken."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_EVERY
        return whole_standing(self._door, run, jobs)


def _lines(reason: Reason, now: datetime) -> list[str]:
    of_job = "" if reason.step is None else f"{reason.step}: "
    lines = [f"{of_job}{_words(reason, now)}"]
    if reason.limit is not None:
        lines[0] += f" ({reason.limit})"
    if reason.holders or reason.others:
        lines.append(f"  held by {_holder_words(reason)}")
    if reason.changes and reason.kind not in _SAYS_ITSELF:
        spelled = (f"with `{one}`" if one.startswith("factory ") else one for one in reason.changes)
        lines.append(f"  goes on {' or '.join(spelled)}")
    return lines


def _holder_words(reason: Reason) -> str:
    """One's own runs by name; of others' it is told how many there are."""
    words = [", ".join(reason.holders[:_NAMED])] if reason.holders else []
    if (more := len(reason.holders) - _NAMED) > 0:
        words.append(f"{more} more")
    if reason.others:
        words.append(f"{reason.others} of other tenants")
    return " and ".join(words)


_SAYS_ITSELF = (_K.PAUSED, _K.HELD, _K.NOBODY)
"""Kinds whose words name what would change them."""


def _words(reason: Reason, now: datetime) -> str:
    match reason.kind:
        case _K.CANCELLING:
            return "asked to stop"
        case _K.PAUSING:
            return "asked to pause, once its jobs under way have finished"
        case _K.PAUSED:
            return f"`{reason.changes[0]}` lets it go on"
        case _K.HELD:
            return f"held in the queue: `{reason.changes[0]}` lets it go on"
        case _K.QUEUE | _K.SLOTS | _K.TENANT_SLOTS | _K.PROJECT_SLOTS:
            return _slot_words(reason)
        case _K.NO_LIMITS:
            return "its tenant's policy cannot be read"
        case _K.NOBODY:
            return NOBODY
        case _:
            return _words_about(reason, one_line(reason.about or ""), _at(reason, now))


def _words_about(reason: Reason, about: str, at: str) -> str:
    match reason.kind:
        case _K.TIME:
            until = f"goes on at {at}{f': {about}' if about else ''}"
            return until if at else f"waits for {about or 'something outside'}"
        case _K.ELSEWHERE:
            return about if reason.step else f"waits for what it has sent to {about}"
        case _K.PEOPLE:
            return f"waits for people until {at}"
        case _K.SET_ASIDE:
            return f"could not be started, tried again at {at}: {about}"
        case _K.APPROVAL:
            count = f"{reason.allowed} of " if (reason.allowed or 1) > 1 else ""
            who = f"{count}{spell_deciders(reason.by)}"
            return f"waits for approval {reason.reference} by {who}, until {at}"
        case _K.TOPIC:
            busy = f"{reason.taken} of {reason.allowed} jobs of type {about} are at work"
            return f"{busy}, {ordinal(reason.position or 1)} in line"
        case _K.HOST:
            return f"{about} is down: nothing is asked of it until {at}"
        case _K.RETRY:
            return f"tried again at {at}{f': {about}' if about else ''}"
        case _:
            return f"at work, held by {about} until {at}"


def _slot_words(reason: Reason) -> str:
    whose = {_K.TENANT_SLOTS: " of its tenant's", _K.PROJECT_SLOTS: " of its project's"}
    place = _place_words(reason)
    if reason.kind is _K.QUEUE:
        return place
    taken = f"{reason.taken} of {reason.allowed}{whose.get(reason.kind, '')} taken"
    return ", ".join(part for part in (f"waits for a slot ({taken})", place) if part)


def _place_words(reason: Reason) -> str:
    mine, overall = reason.position, reason.overall
    if overall is None:
        return "" if mine is None else f"{ordinal(mine)} of its tenant's in the queue"
    of_tenant = f" ({ordinal(mine)} of its tenant's)" if mine not in (None, overall) else ""
    return f"{ordinal(overall)} in the queue{of_tenant}"


def _at(reason: Reason, now: datetime) -> str:
    return "" if reason.until is None else moment(reason.until, now)


def _short(reason: Reason, now: datetime) -> str:
    at = _at(reason, now)
    timed = f"until {at}" if at else "something outside"
    place = f"{ordinal(reason.overall)} in the queue" if reason.overall else "in the queue"
    words: dict[ReasonKind, str] = {
        _K.CANCELLING: "to be stopped",
        _K.PAUSING: "to be paused",
        _K.PAUSED: "to be resumed",
        _K.HELD: "to be resumed",
        _K.TIME: timed,
        _K.ELSEWHERE: "another queue",
        _K.PEOPLE: "approval",
        _K.SET_ASIDE: f"set aside until {at}",
        _K.TENANT_SLOTS: "its tenant's slots",
        _K.PROJECT_SLOTS: "its project's slots",
        _K.NO_LIMITS: "its policy",
    }
    return words.get(reason.kind, place)
