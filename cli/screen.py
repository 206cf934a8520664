"""Lines, facts and tables on standard output.

Rich takes a tenth of what a reading command may take, so it is kept for what moves.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from cli.text import clean

_COLOURS = {"good": "32", "bad": "31", "busy": "36", "warn": "33", "dim": "2", "head": "1"}
_STATUS_STYLES = {
    "Succeeded": "good",
    "Failed": "bad",
    "Running": "busy",
    "Waiting": "busy",
    "Paused": "warn",
    "Cancelled": "warn",
    "Skipped": "dim",
    "Pending": "dim",
    "ok": "good",
    "warn": "warn",
    "fail": "bad",
}
_MIN_CELL = 12
_GAP = "  "


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, on something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def status_style(status: str) -> str | None:
    """The style that a status is shown in, everywhere."""
    return _STATUS_STYLES.get(status)


class Screen:
    """Writes to a stream; in colour, and cut to the width, only where a person looks at it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out = stream or sys.stdout
        terminal = is_terminal(self._out)
        self._colour = terminal and not os.environ.get("NO_COLOR")
        self._width = shutil.get_terminal_size().columns if terminal else None

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line, or several."""
        print(self._styled(clean(text), style), file=self._out)

    def flush(self) -> None:
        """Show now what was written."""
        self._out.flush()

    def heading(self, text: str) -> None:
        """A blank line and a title."""
        self.line()
        self.line(text, "head")

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Names and values, aligned; a fact without a value is left out."""
        known = [(name, clean(value)) for name, value in facts if value]
        width = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            indented = value.replace("\n", "\n" + " " * (width + len(_GAP)))
            print(f"{self._styled(name.ljust(width), 'dim')}{_GAP}{indented}", file=self._out)

    def table(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        flexible: Sequence[str] = (),
    ) -> None:
        """Aligned columns. ``flexible`` ones are cut, the last named first, in a narrow terminal.

        A column called ``status`` is coloured. Columns that are empty all the way are left out.
        """
        cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
        kept = [n for n in range(len(headers)) if any(row[n] for row in cells)]
        names = [headers[n] for n in kept]
        widths = [max(len(headers[n]), *(len(row[n]) for row in cells)) for n in kept]
        self._narrow(names, widths, flexible)
        print(self._styled(_row(names, widths), "dim"), file=self._out)
        for row in cells:
            shown = [row[n] for n in kept]
            styles = [status_style(row[n]) if headers[n] == "status" else None for n in kept]
            print(_row(shown, widths, [self._codes(style) for style in styles]), file=self._out)

    def _narrow(self, names: Sequence[str], widths: list[int], flexible: Sequence[str]) -> None:
        if self._width is None:
            return
        for name in reversed(flexible):
            excess = sum(widths) + len(_GAP) * (len(widths) - 1) - self._width
            if excess > 0 and name in names:
                place = names.index(name)
                widths[place] = max(min(_MIN_CELL, widths[place]), widths[place] - excess)

    def _styled(self, text: str, style: str | None) -> str:
        begin, end = self._codes(style)
        return f"{begin}{text}{end}"

    def _codes(self, style: str | None) -> tuple[str, str]:
        return (f"\x1b[{_COLOURS[style]}m", "\x1b[0m") if style and self._colour else ("", "")


def _row(cells: Sequence[str], widths: Sequence[int], codes: Sequence[tuple[str, str]] = ()) -> str:
    shown: list[str] = []
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        cut = cell if len(cell) <= width else f"{cell[: width - 1]}…"
        begin, end = codes[number] if codes else ("", "")
        shown.append(f"{begin}{cut}{end}{' ' * (width - len(cut))}")
    return _GAP.join(shown).rstrip()
