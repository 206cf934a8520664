"""A run's progress as it happens: moving on a terminal, line by line elsewhere, or not at all."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from cli.job_words import attempt_words
from cli.screen import Screen, is_terminal
from cli.text import clean, clock_time, duration, one_line
from cli.watching import JobLine, Watcher
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import RunEvent
from factory_runtime.ports import Clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_MANY = 500
"""Jobs that are still listed one by one at the end."""


class Progress(Protocol):
    """Where progress goes."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def phase(self, text: str) -> None:
        """What is being waited for; empty when nothing is."""
        ...

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        """How the run stands, and what is new."""
        ...


def open_progress(*, as_json: bool) -> Progress:
    """The progress that fits what standard output is."""
    if as_json:
        return SilentProgress()
    return LiveProgress(SystemClock()) if is_terminal(sys.stdout) else PlainProgress()


def cache_word(cached: bool | None) -> str:
    """What to say of where a render came from."""
    return {True: "cached", False: "rendered", None: ""}[cached]


class SilentProgress:
    """Nothing: another program reads standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def phase(self, text: str) -> None:
        """Say nothing."""

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        """Show nothing."""


class PlainProgress:
    """A line whenever something happens, written at once."""

    def __init__(self) -> None:
        self._screen = Screen()
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def phase(self, text: str) -> None:
        if text and text != self._phase:
            self._write(f"{text} …")
        self._phase = text

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        width = max((len(step) for step in watcher.lines), default=0)
        for event in events:
            self._write(event_line(event, width, watcher.lines))

    def _write(self, text: str) -> None:
        self._screen.line(text)
        sys.stdout.flush()


def event_line(event: RunEvent, width: int, lines: dict[str, JobLine] | None = None) -> str:
    """One event as one line; ``width`` is that of the longest step's name."""
    detail = event.detail
    what = [clock_time(event.at), (event.step or "run").ljust(width)]
    if event.kind in ("log", "notice-given-up"):
        return "  ".join([*what, clean(str(detail.get("message", "")))])
    if event.kind == "request":
        return "  ".join([*what, clean(f"asked to {detail.get('asked')} by {detail.get('by')}")])
    if event.kind == "approval":
        return "  ".join([*what, clean(_approval_words(detail))])
    line = JobLine(event.step or "", 0)
    line.take(event)
    what.append((event.to_status or event.kind).ljust(9))
    attempt = int(detail.get("attempt", 0))
    limit = lines[event.step].max_attempts if lines and event.step in lines else 0
    if attempt > 1:
        what.append(f"attempt {attempt_words(attempt, limit)}")
    cycle = detail.get("cycle")
    if event.kind == "run" and cycle:
        what.append(f"cycle {cycle}, by {detail.get('by')}")
    what += [duration(line.seconds), cache_word(line.cached), clean(line.words(event.at))]
    return "  ".join(part for part in what if part).rstrip()


def _approval_words(detail: Mapping[str, Any]) -> str:
    """``appr-1 granted by grace: looks good``."""
    said = f"{detail.get('approval')} {detail.get('said')}"
    if "who" in detail:
        return f"{said}: {detail['who']}"
    by = f" by {detail['by']}" if "by" in detail else ""
    comment = f": {detail['comment']}" if "comment" in detail else ""
    return one_line(f"{said}{by}{comment}")


class LiveProgress:
    """A table that moves in place; its last picture stays."""

    def __init__(self, clock: Clock, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._clock = clock
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("dots", style="cyan")
        self._phase = ""
        self._lines: tuple[JobLine, ...] = ()
        self._ended = False
        self._live = Live(
            get_renderable=self._picture, console=self._console, refresh_per_second=10
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._phase = ""
        self._ended = True
        self._live.stop()

    def phase(self, text: str) -> None:
        self._phase = clean(text)

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        self._lines = tuple(watcher.lines.values())

    def _picture(self) -> RenderableType:
        from rich.console import Group

        shown: list[RenderableType] = [self._table(), *self._rest()]
        if self._phase:
            self._spinner.update(text=f"{self._phase} …")
            shown.append(self._spinner)
        return Group(*shown)

    def _room(self) -> int:
        return _MANY if self._ended else max(self._console.height - 4, 3)

    def _chosen(self) -> Sequence[JobLine]:
        """The lines there is room for: those under way before those that wait or are done."""
        room = self._room()
        if len(self._lines) <= room:
            return self._lines
        order = {JobStatus.RUNNING.value: 0, JobStatus.WAITING.value: 0, JobStatus.FAILED.value: 1}
        places = sorted(
            range(len(self._lines)), key=lambda n: (order.get(self._lines[n].status, 2), n)
        )
        return [self._lines[n] for n in sorted(places[:room])]

    def _rest(self) -> list[RenderableType]:
        from rich.text import Text

        if len(self._lines) <= self._room():
            return []
        counts = Counter(line.status for line in self._lines)
        told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        return [Text(f"{len(self._lines)} jobs: {told}", style="dim")]

    def _table(self) -> RenderableType:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column()
        for line in self._chosen():
            table.add_row(*self._row(line))
        return table

    def _row(self, line: JobLine) -> list[RenderableType]:
        from rich.text import Text

        took = line.seconds
        if line.started_at is not None:
            took = (self._clock.now() - line.started_at).total_seconds()
        words = [word for word in (cache_word(line.cached), line.words(self._clock.now())) if word]
        attempt = attempt_words(line.attempt, line.max_attempts)
        return [
            # The two columns that give way in a narrow terminal: to Rich they could wrap.
            Text(clean(line.step), no_wrap=True, overflow="ellipsis"),
            Text(line.status, style=_RICH_STYLES.get(line.status, "")),
            Text(attempt, style="dim" if line.attempt < 2 else "yellow"),
            Text(duration(took) if line.attempt else ""),
            Text(", ".join(words), style="dim", no_wrap=True, overflow="ellipsis"),
        ]


_RICH_STYLES = {
    "Succeeded": "green",
    "Failed": "red",
    "Running": "cyan",
    "Waiting": "cyan",
    "Cancelled": "yellow",
    "Skipped": "dim",
    "Pending": "dim",
}
