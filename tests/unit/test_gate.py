"""The gate that jobs go through: so many at once, the urgent first, nobody's place lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from tasks.gate import Gate


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 10))


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_of_those_who_come_together_the_first_by_rank_goes_in_first_and_then_the_first_to_come() -> (
    None
):
    gone_in: list[str] = []

    async def one(gate: Gate, name: str, *rank: int) -> None:
        async with gate.inside(*rank):
            gone_in.append(name)
            await asyncio.sleep(0)

    async def story() -> None:
        gate = Gate(1)
        ranks = {"low": (2, 0), "late": (1, 9), "early": (1, 1), "same": (1, 1), "high": (0, 5)}
        await asyncio.gather(*(one(gate, name, *rank) for name, rank in ranks.items()))

    run(story())
    assert gone_in == ["high", "early", "same", "late", "low"]


def test_no_more_are_inside_than_have_room() -> None:
    inside, most = 0, 0

    async def one(gate: Gate, number: int) -> None:
        nonlocal inside, most
        async with gate.inside(number % 3):
            inside += 1
            most = max(most, inside)
            await settle()
            inside -= 1

    async def story() -> None:
        gate = Gate(3)
        await asyncio.gather(*(one(gate, number) for number in range(20)))

    run(story())
    assert (inside, most) == (0, 3)


def test_who_is_cancelled_while_waiting_or_when_let_in_loses_nobodys_place() -> None:
    async def story() -> None:
        gate = Gate(1)
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter(rank)) for rank in range(3)]
        await settle()
        waiting[0].cancel()  # while it waits
        gate.leave()
        waiting[1].cancel()  # let in by that, and cancelled before it could run
        await settle()
        assert waiting[2].done()
        assert not waiting[2].cancelled()
        for task in waiting:
            with suppress(asyncio.CancelledError):
                await task
        gate.leave()
        await gate.enter()

    run(story())


def test_who_fails_inside_leaves_its_place() -> None:
    async def story() -> None:
        gate = Gate(1)
        with suppress(ZeroDivisionError):
            async with gate.inside():
                raise ZeroDivisionError
        async with gate.inside():
            pass

    run(story())
