"""Which runs are meant: words like ``status=Failed`` that `runs list`, `cancel` and `retry` share."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_runtime.compiler.durations import parse_duration
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.run import RunStatus

if TYPE_CHECKING:
    from factory_runtime.ports import RunFilter

_FIELDS = {
    "status": "statuses",
    "project": "project_id",
    "template": "template_id",
    "requester": "requested_by",
    "error": "error",
    "since": "since",
    "until": "until",
    "ended-since": "ended_since",
    "ended-until": "ended_until",
}
"""Words that choose runs, and the filter's fields they stand for."""

_TIMES = ("since", "until", "ended-since", "ended-until")

Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help=f"Choose runs: {', '.join(_FIELDS)}. Repeat it: all must hold, of statuses one.",
    ),
]
NotSinceSucceeded = Annotated[
    bool,
    typer.Option(
        "--not-since-succeeded",
        help="Only where no run of the same project, template and inputs succeeded afterwards.",
    ),
]
Time = str | None
"""A duration before now, or a time like ``2026-11-21T14:00`` where the reader is."""


@dataclass(frozen=True)
class Choice:
    """What the options say of which runs are meant; nothing where runs are named.

    Attributes:
        ended: whether ``--since`` and ``--until`` are about the end of a run, or its request.
    """

    where: Sequence[str] | None = None
    since: Time = None
    until: Time = None
    not_since_succeeded: bool = False
    ended: bool = False

    @property
    def is_made(self) -> bool:
        return self != Choice(ended=self.ended)

    def filter(self, now: datetime) -> RunFilter:
        """The runs that are meant.

        Raises:
            InputError: a word is unknown, said twice, or has no such value.
        """
        from factory_runtime.ports import RunFilter

        found: dict[str, Any] = {"statuses": ()}
        for label, name, text in self._words():
            field = _FIELDS[name]
            if name == "status":
                statuses = (status_of(one.strip()) for one in text.split(","))
                found[field] = (*found[field], *statuses)
            elif field in found:
                raise InputError(f"{label}: {name} is said twice", hint="say it once")
            elif not text.strip():
                raise InputError(f"{label}: there is no value", hint=f"write {label}=value")
            else:
                found[field] = moment_of(text, now, label) if name in _TIMES else text
        return replace(RunFilter(not_since_succeeded=self.not_since_succeeded), **found)

    def _words(self) -> Iterator[tuple[str, str, str]]:
        """How each was given, its name and its value."""
        yield from words_of(self.where or (), _FIELDS, "runs")
        prefix = "ended-" if self.ended else ""
        for name, text in (("since", self.since), ("until", self.until)):
            if text is not None:
                yield f"--{name}", f"{prefix}{name}", text


def words_of(
    words: Sequence[str], known: Collection[str], things: str
) -> Iterator[tuple[str, str, str]]:
    """Of each ``--where NAME=VALUE``: how it was given, its name and its value.

    Raises:
        InputError: a name is not known, or there is no value.
    """
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip().lower()
        if name not in known:
            message = f"--where {name}: {things} are not chosen by that"
            raise InputError(message, hint=_meant(name, list(known)))
        if not sign:
            message = f"--where {word}: there is no value"
            raise InputError(message, hint=f"write --where {name}=value")
        yield f"--where {name}", name, text


def status_of(name: str) -> RunStatus:
    """The status of that name.

    Raises:
        InputError: there is none.
    """
    for status in RunStatus:
        if status.lower() == name.lower():
            return status
    raise InputError(
        f"{name!r} is no status of a run",
        hint=_meant(name.capitalize(), [status.value for status in RunStatus]),
    )


def moment_of(text: str, now: datetime, label: str) -> datetime:
    """A time: so long before now, like ``2h``, or as it is written, like ``2026-11-21T14:00``.

    Raises:
        InputError: it is neither.
    """
    length = parse_duration(text) if any(letter.isdecimal() for letter in text) else None
    try:
        return now - length if length is not None else datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as exc:
        raise InputError(
            f"{label} is {text!r}, which is no time",
            hint="write how long ago, like 2h, or when, like 2026-11-21T14:00",
        ) from exc


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
