"""What was measured of one peer, and the table of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HEADS = (
    "tool",
    "version",
    "storage",
    "jobs",
    "jobs/s",
    "kill → next job, s",
    "jobs run again",
    "of these recorded",
)


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """One row of the table.

    Attributes:
        tool: its name, and the way where it has several.
        version: of its package.
        storage: where it keeps what it must not lose.
        jobs: how many jobs the fan-out had, its first and last included.
        jobs_per_second: no-op jobs, the median of the rounds.
        kill_to_next_job: seconds from the SIGKILL to the first job in the new process, the median
            of the kills; the start of that process is in it.
        run_again: of each kill, how many jobs that had ended before it ran again.
        recorded_again: of each kill, how many of these the tool had recorded; None where that was
            not looked for.
        by_hand: what a person has to do after the kill, besides starting the process again.
    """

    tool: str
    version: str
    storage: str
    jobs: int
    jobs_per_second: float
    kill_to_next_job: float
    run_again: tuple[int, ...]
    by_hand: str
    recorded_again: tuple[int, ...] | None = None


def table(rows: Sequence[PeerFigures]) -> str:
    """The rows as text in columns, then what each tool wants of a person."""
    cells = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    lines = [_line(line, widths) for line in cells]
    notes = [f"  {row.tool}, {row.storage}: {row.by_hand}" for row in rows]
    return "\n".join([*lines, "", "After a kill, besides starting the process again:", *notes])


def _cells(row: PeerFigures) -> tuple[str, ...]:
    return (
        row.tool,
        row.version,
        row.storage,
        f"{row.jobs:,}",
        f"{row.jobs_per_second:,.1f}",
        f"{row.kill_to_next_job:.2f}",
        _span(row.run_again),
        "–" if row.recorded_again is None else _span(row.recorded_again),
    )


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, figures to the right."""
    texts = [f"{c:<{w}}" for c, w in zip(cells[:3], widths[:3], strict=True)]
    figures = [f"{c:>{w}}" for c, w in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join([*texts, *figures])
