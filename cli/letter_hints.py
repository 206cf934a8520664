"""What is known of failures like a dead letter's, as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cli.as_json import to_json
from cli.recalled import recalled_as_json
from cli.screen import Screen
from cli.text import local_time, one_line
from factory_runtime.domain.failure_hints import FailureHints, KnownFailure
from factory_runtime.domain.failure_pattern import Resolution

_RESOLUTIONS = 5


def hints_as_json(hints: FailureHints) -> dict[str, Any]:
    """All of it."""
    return {
        "same": None if hints.same is None else _failure_as_json(hints.same),
        "similar": [_failure_as_json(one) for one in hints.similar],
        "trouble": hints.trouble,
    }


def show_hints(screen: Screen, hints: FailureHints) -> None:
    """What was seen before, and what helped; nothing where nothing is known."""
    if hints.same is not None:
        screen.heading("Seen before")
        facts = hints.same.recalled.memory.facts
        screen.line(
            f"{_counted(facts.get('jobs'), 'job')} of {_counted(facts.get('runs'), 'run')} failed so,"
            f" the last {_time(facts.get('last_seen'))}; cause: {facts.get('cause')}"
        )
        _show_resolutions(screen, hints.same)
    if hints.similar:
        screen.heading("Similar failures")
        for one in hints.similar:
            screen.line(f"{one.recalled.score:.2f}  {one_line(one.recalled.memory.title)}")
            _show_resolutions(screen, one)
    if hints.trouble is not None:
        screen.line()
        screen.line(f"no similar failures: {one_line(hints.trouble)}", "dim")


def _show_resolutions(screen: Screen, known: KnownFailure) -> None:
    if not known.resolutions:
        screen.line("  nothing is known that helped", "dim")
        return
    screen.facts(_resolution_rows(known.resolutions[:_RESOLUTIONS]))


def _resolution_rows(resolutions: tuple[Resolution, ...]) -> Iterator[tuple[str, str]]:
    for one in resolutions:
        helped = "helps" if one.is_confirmed else "may help"
        status = helped if one.worked else "did not help"
        tries = "1 time" if one.tried == 1 else f"{one.tried} times"
        rate = f"worked {one.worked} of {tries} ({one.rate:.0%}), last {local_time(one.last_at)}"
        yield f"  {status}", f"{one_line(one.words)}: {rate}"


def _failure_as_json(known: KnownFailure) -> dict[str, Any]:
    return {
        **recalled_as_json(known.recalled),
        "resolutions": [
            {
                "digest": one.digest,
                "words": one.words,
                "status": "confirmed" if one.is_confirmed else "candidate",
                "tried": one.tried,
                "worked": one.worked,
                "rate": one.rate,
                "last_at": to_json(one.last_at),
                "changes": to_json(one.difference.to_facts()),
            }
            for one in known.resolutions
        ],
    }


def _counted(count: object, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _time(text: object) -> str:
    return local_time(datetime.fromisoformat(text)) if isinstance(text, str) else ""
