"""Measure several ways of doing one thing in turns, so that a busy machine is unfair to none.

Between two there is a pause: the server is still writing the events of the last one, and would
answer the first calls of the next with 503.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

PAUSE = 2.0
"""Seconds, not in the time."""

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
        for name, way in ways.items():
            prepare()
            await asyncio.sleep(PAUSE)
            started = time.perf_counter()
            await way()
            if round_ > 0:
                times[name].append(time.perf_counter() - started)
    return times


def median_ms(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(seconds) * 1000


def ratio_of(times: Times, one: str, other: str) -> float:
    """The ratio of two ways' medians."""
    return statistics.median(times[one]) / statistics.median(times[other])
