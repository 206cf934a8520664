"""What a kill cost, read from the watch file; and how whole trees of processes are ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.fan_out import FanOut
from benchmarks.peers.watch_file import (
    Mark,
    jobs_ended,
    jobs_run_again,
    read_marks,
    seconds_to_next_job,
)

JOB_SECONDS = 0.02
"""How long a job takes where the process is killed; elsewhere it takes no time."""

PATIENCE = 600.0
"""Seconds after which a process of a peer is broken."""


class PeerBrokenError(Exception):
    """A peer's process failed, or did not execute every job."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What became of one.

    Attributes:
        seconds: from the kill to the first job after it.
        run_again: how many jobs that had ended before it ran again.
        recorded_again: how many of these the tool had recorded; None where nobody looked.
    """

    seconds: float
    run_again: int
    recorded_again: int | None = None


def wait_until_half_way(
    tool: str, fan_out: FanOut, lives: Callable[[], bool], log: Callable[[], str]
) -> None:
    """Wait for half of the jobs to have ended.

    Raises:
        PeerBrokenError: the process ended before, or takes ten minutes.
    """
    give_up = time.monotonic() + PATIENCE
    while len(jobs_ended(marks_of(fan_out))) < fan_out.jobs // 2:
        if not lives() or time.monotonic() > give_up:
            raise PeerBrokenError(f"{tool} did not get half-way:\n{log()}")
        time.sleep(0.005)


def kill_of(tool: str, fan_out: FanOut, killed_at: float, recorded: Collection[str] | None) -> Kill:
    """What the watch file says when all is over.

    Args:
        tool: its name.
        fan_out: what it executed.
        killed_at: monotonic seconds, after its processes had gone.
        recorded: the jobs of which it knew by then that they had ended, or None.

    Raises:
        PeerBrokenError: some job never ended.
    """
    marks = marks_of(fan_out)
    if missing := set(fan_out.names) - set(jobs_ended(marks)):
        raise PeerBrokenError(f"{tool} never ran {len(missing)} jobs: {missing}")
    again = jobs_run_again(marks, killed_at)
    known = None if recorded is None else len(set(again) & set(recorded))
    return Kill(seconds_to_next_job(marks, killed_at), len(again), known)


def marks_of(fan_out: FanOut) -> tuple[Mark, ...]:
    """What its watch file says by now."""
    assert fan_out.watch is not None
    return read_marks(Path(fan_out.watch).read_text())


def end_tree(pid: int) -> None:
    """SIGKILL for a process and for all that it started, at once."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        below = top.children(recursive=True)
        for process in (top, *below):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below)
