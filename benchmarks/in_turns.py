"""Measure several ways of doing one thing in turns, so that a busy machine is unfair to none.

Before each, the server is let come to rest: for seconds it still writes the events of the last
one, and would answer the first calls of the next with 503.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import psutil

from deployments.executor import favour_the_event_loop

_LOOK = 0.5
_REST = 0.05
"""Seconds of processor time in one look: a server that has nothing to do needs less."""

_MOST_LOOKS = 60

Times = Mapping[str, list[float]]
"""Seconds of every round, by the name of the way."""


async def in_turns(
    ways: Mapping[str, Callable[[], Awaitable[object]]],
    rounds: int,
    prepare: Callable[[], object] = lambda: None,
) -> Times:
    """Seconds of each way in each round, after one warm-up; ``prepare`` is not in the time."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        if round_ == 1:
            favour_the_event_loop()  # as the executor does, for all ways alike
        for name, way in ways.items():
            prepare()
            await _at_rest()
            started = time.perf_counter()
            await way()
            if round_ > 0:
                times[name].append(time.perf_counter() - started)
    return times


async def _at_rest() -> None:
    """Wait until the children of this process have nothing more to do."""
    before = _spent_by_children()
    for _ in range(_MOST_LOOKS):
        await asyncio.sleep(_LOOK)
        now = _spent_by_children()
        if now - before < _REST:
            return
        before = now


def _spent_by_children() -> float:
    spent = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


def median_ms(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(seconds) * 1000


def ratio_of(times: Times, one: str, other: str) -> float:
    """The ratio of two ways' medians."""
    return statistics.median(times[one]) / statistics.median(times[other])
