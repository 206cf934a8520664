"""Which dead letters are meant: words like ``type=repo-generation``, times, a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.completion import complete_fingerprint
from cli.door import Door
from cli.where import Time, moment_of, words_of
from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import InputError

_WORDS = ("type", "template", "project")
"""Words that choose letters."""

Fingerprint = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        help="Those of this kind of failure; its first 6 digits or more.",
        autocompletion=complete_fingerprint,
    ),
]
LettersWhere = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help=f"Choose open ones: {', '.join(_WORDS)}. Repeat it: all must hold.",
    ),
]
FailedSince = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Choose open ones that failed since, like 2h."),
]
FailedUntil = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Choose open ones that failed before."),
]


@dataclass(frozen=True)
class LetterChoice:
    """What the options say of which letters are meant; nothing where they are named."""

    where: Sequence[str] | None = None
    since: Time = None
    until: Time = None
    fingerprint: str | None = None

    @property
    def is_made(self) -> bool:
        return self != LetterChoice()

    def filter(self, door: Door) -> LetterFilter:
        """The open letters that are meant.

        Raises:
            InputError: a word is unknown, said twice, or has no such value.
            DeadLetterNotFoundError: there is no such kind of failure.
        """
        found: dict[str, str] = {}
        for label, name, text in words_of(self.where or (), _WORDS, "dead letters"):
            if name in found:
                raise InputError(f"{label}: {name} is said twice", hint="say it once")
            if not text.strip():
                raise InputError(f"{label}: there is no value", hint=f"write {label}=value")
            found[name] = text
        now = door.desk.now()
        return LetterFilter(
            fingerprint=None if self.fingerprint is None else whole(door, self.fingerprint),
            since=None if self.since is None else moment_of(self.since, now, "--since"),
            until=None if self.until is None else moment_of(self.until, now, "--until"),
            job_type=found.get("type"),
            template_id=found.get("template"),
            project_id=found.get("project"),
        )


def whole(door: Door, fingerprint: str) -> str:
    """The whole of a fingerprint of which the first digits are given.

    Raises:
        InputError: they are none, or more than one begins so.
        DeadLetterNotFoundError: none does.
    """
    return door.desk.whole_fingerprint(fingerprint)


def check_letters(letter_ids: Sequence[str] | None, choice: LetterChoice) -> None:
    """Refuse a command line that does not say which letters, or says it in two ways.

    Raises:
        InputError: it does.
    """
    if bool(letter_ids) == choice.is_made:
        what = "letters are named and chosen" if letter_ids else "no letters are named or chosen"
        hint = "give each LETTER_ID, or --fingerprint, --where and what else chooses"
        raise InputError(what, hint=hint)
