"""Server-sent events, read from the lines of a stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One of a run's stream.

    Attributes:
        kind: ``run``, ``job``, ``log``, …, ``progress`` of what jobs say, ``end`` when it is over.
        sequence: of the run's history; None where it stands in none.
    """

    kind: str
    data: dict[str, Any]
    sequence: int | None = None


class EventReader:
    """Takes lines and gives events."""

    def __init__(self) -> None:
        self._kind, self._data, self._sequence = "message", list[str](), None

    def take(self, line: str) -> StreamEvent | None:
        """The event that this line ends, if it ends one."""
        if not line:
            return self._give()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id" if value.isdecimal():
                self._sequence = int(value)
            case _:
                pass  # a comment, or what this release does not know
        return None

    def _give(self) -> StreamEvent | None:
        kind, data, sequence = self._kind, self._data, self._sequence
        self._kind, self._data, self._sequence = "message", [], None
        return StreamEvent(kind, json.loads("\n".join(data)), sequence) if data else None
