"""The watch file: each job of a fan-out writes in it when it began and when it ended.

One line per mark: ``began NAME SECONDS`` or ``ended NAME SECONDS``, the seconds of the machine's
monotonic clock, which all its processes share. A mark is one write to a file opened for appending,
so marks of several processes do not mix, and a kill loses no mark that was written.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Moment(StrEnum):
    """Which end of a job a mark tells of."""

    BEGAN = "began"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of the file; ``at`` is in monotonic seconds."""

    moment: Moment
    job: str
    at: float


class BrokenWatchFileError(Exception):
    """A whole line of the file is no mark."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(f"no mark: {line!r}")


class NoJobRanError(Exception):
    """No job began after the kill."""


def write_mark(file: Path, moment: Moment, job: str) -> None:
    """Append one mark, with the time now."""
    line = f"{moment} {job} {time.monotonic()!r}\n".encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_marks(text: str) -> tuple[Mark, ...]:
    """The marks in the order of the file; a last line without its end is still being written.

    Raises:
        BrokenWatchFileError: a whole line is no mark.
    """
    whole, _, _ = text.rpartition("\n")
    return tuple(_mark(line) for line in whole.split("\n")) if whole else ()


def seconds_to_next_job(marks: Sequence[Mark], killed_at: float) -> float:
    """From the kill to the first job that began after it.

    Raises:
        NoJobRanError: none did.
    """
    later = [mark.at for mark in marks if mark.moment is Moment.BEGAN and mark.at > killed_at]
    if not later:
        raise NoJobRanError
    return min(later) - killed_at


def jobs_run_again(marks: Sequence[Mark], killed_at: float) -> tuple[str, ...]:
    """The names, sorted, of the jobs that had ended before the kill and began again after it."""
    done = {m.job for m in marks if m.moment is Moment.ENDED and m.at <= killed_at}
    again = {m.job for m in marks if m.moment is Moment.BEGAN and m.at > killed_at}
    return tuple(sorted(done & again))


def jobs_ended(marks: Sequence[Mark]) -> Counter[str]:
    """How often each job ended."""
    return Counter(mark.job for mark in marks if mark.moment is Moment.ENDED)


def _mark(line: str) -> Mark:
    try:
        moment, job, at = line.split(" ")
        return Mark(Moment(moment), job, float(at))
    except ValueError as exc:
        raise BrokenWatchFileError(line) from exc
