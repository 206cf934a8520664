"""Collects problems, and reads a mapping's keys one by one so that none hides another."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

from factory_runtime.compiler.durations import DURATION_HINT, parse_duration
from factory_runtime.compiler.work import Work
from factory_runtime.compiler.yaml_nodes import MAX_PROBLEMS, Node
from factory_runtime.domain.errors import Problem

T = TypeVar("T")
Place = Node | tuple[int, int]

_MAX_ALIKE = (500, 80)
"""Names that are compared for a hint, and characters of each: it takes the square of them."""


class TooManyError(Exception):
    """There are so many problems that the rest is not worth finding."""


class Findings:
    """The problems of one file so far, and what reading it may still cost."""

    def __init__(self, file: str, problems: Iterable[Problem] = ()) -> None:
        self.file = file
        self.work = Work()
        self._problems = set(problems)

    def add(self, place: Place, code: str, message: str, hint: str | None = None) -> None:
        """Note a problem; the same one twice is one.

        Raises:
            TooManyError: this was the last one that is shown.
        """
        line, column = (place.line, place.column) if isinstance(place, Node) else place
        self._problems.add(Problem(self.file, line, column, code, message, hint))
        if len(self._problems) >= MAX_PROBLEMS:
            raise TooManyError

    def __len__(self) -> int:
        return len(self._problems)

    def sorted(self) -> list[Problem]:
        """All of them by place."""
        return sorted(self._problems, key=lambda p: (p.line, p.column, p.code, p.message))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names what is alike, or all there is."""
    names = list(known)
    count, length = _MAX_ALIKE
    alike = [each for each in names[:count] if len(each) <= length]
    if close := difflib.get_close_matches(name[:length], alike, n=1, cutoff=0.6):
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"there are {shown}" if names else "there are none"


class Fields:
    """The keys of one mapping, read one by one; what is wrong is noted and read as absent."""

    def __init__(self, node: Node, what: str, findings: Findings, known: Iterable[str]) -> None:
        self.node = node
        self._what = what
        self._findings = findings
        self._members = node.members or {}
        known = tuple(known)
        for key, place in (node.keys or {}).items():
            if key not in known:
                message = f"{what} has no key {key!r}"
                findings.add(place, "unknown-key", message, did_you_mean(key, known))

    @classmethod
    def of(cls, node: Node, what: str, findings: Findings, known: Iterable[str]) -> Fields | None:
        """The fields of a node, or None (and a problem) where it is not a mapping."""
        if node.members is None:
            keys = ", ".join(known)
            findings.add(node, "bad-value", f"{what} must be a mapping", f"its keys: {keys}")
            return None
        return cls(node, what, findings, known)

    def node_of(self, key: str) -> Node | None:
        """The value's node; None where the key is absent."""
        return self._members.get(key)

    def require(self, key: str, hint: str) -> Node | None:
        """The same, with a problem where it is absent."""
        if key not in self._members and key not in (self.node.keys or {}):
            self._findings.add(self.node, "missing-key", f"{self._what} has no {key!r}", hint)
        return self._members.get(key)

    def bad(self, key: str, must_be: str, hint: str | None = None) -> None:
        """Note that the value of that key is of the wrong sort."""
        message = f"{key} of {self._what} must be {must_be}"
        self._findings.add(self._members[key], "bad-value", message, hint)

    def text(self, key: str, default: str = "", *, required: str | None = None) -> str:
        """Text that is not empty; ``required`` is the hint where it is absent."""
        node = self.node_of(key) if required is None else self.require(key, required)
        if node is None:
            return default
        if isinstance(node.scalar, str) and node.scalar.strip():
            return node.scalar
        is_bare = isinstance(node.scalar, int | float)
        self.bad(key, "text", "put it in quotes" if is_bare else None)
        return default

    def duration(self, key: str) -> timedelta | None:
        """A duration longer than nothing."""
        node = self.node_of(key)
        if node is None:
            return None
        found = parse_duration(node.scalar) if isinstance(node.scalar, str) else None
        if not found:
            self.bad(key, "a duration", DURATION_HINT)
            return None
        return found

    def list_of(
        self, key: str, read: Callable[[Node], T | None], must_be: str
    ) -> list[tuple[T, Node]] | None:
        """A list whose items ``read`` understands; the others are noted and left out."""
        node = self.node_of(key)
        if node is None:
            return None
        if node.items is None:
            self.bad(key, f"a list of {must_be}")
            return None
        found: list[tuple[T, Node]] = []
        for item in node.items:
            value = read(item)
            if value is None:
                message = f"{key} of {self._what} must hold {must_be} only"
                self._findings.add(item, "bad-value", message)
            else:
                found.append((value, item))
        return found

    def texts(self, key: str) -> list[tuple[str, Node]]:
        """A list of text."""
        return self.list_of(key, _text, "text") or []


def _text(node: Node) -> str | None:
    return node.scalar if isinstance(node.scalar, str) and node.scalar else None
