"""What people add and end, like keys: shown as a table or as JSON, its secret once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from cli.as_json import print_json
from cli.door import Door
from cli.screen import Screen

T = TypeVar("T")


@dataclass(frozen=True)
class Entries(Generic[T]):
    """How those of one kind are shown.

    Attributes:
        name: of all of them.
        headers: of their table; the columns in ``flexible`` give way where it is too wide.
        facts: of one, as JSON, without its secret.
        row: the cells of one, at a time.
    """

    name: str
    headers: tuple[str, ...]
    flexible: tuple[str, ...]
    facts: Callable[[T], dict[str, Any]]
    row: Callable[[T, datetime], tuple[str, ...]]

    def show_all(self, door: Door, found: Sequence[T]) -> None:
        """Those that were found."""
        if door.json:
            print_json({self.name: [self.facts(one) for one in found]})
        elif not found:
            door.screen.line(f"no {self.name}")
        else:
            now = door.desk.now()
            rows = (self.row(one, now) for one in found)
            door.screen.table(self.headers, rows, flexible=self.flexible)

    def show(self, door: Door, one: T, words: str) -> None:
        """One to which something was done, in words for people."""
        if door.json:
            print_json(self.facts(one))
        else:
            door.screen.line(words, "good")

    def show_secret(
        self, door: Door, one: T, words: str, secret: str, *, name: str = "secret"
    ) -> None:
        """The secret alone on standard output, so that it can be piped to where it is kept."""
        if door.json:
            print_json({**self.facts(one), name: secret})
            return
        Screen(sys.stderr).line(f"{words}; its {name} is shown this once")
        print(secret)
