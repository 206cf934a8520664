"""Threads that ask at once are answered together, and none waits for an answer that never comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from factory_runtime.services.coalesce import Asked, Coalesced

PATIENCE = 20.0


class Desk:
    """Doubles numbers; it does nothing before it is let."""

    def __init__(self, most: int = 32) -> None:
        self.groups: list[tuple[int, ...]] = []
        self.may_go_on = threading.Event()
        self.is_at_work = threading.Event()
        self.asked = Coalesced[int, int](self._double, most)

    def _double(self, numbers: Sequence[int]) -> Sequence[int]:
        self.groups.append(tuple(numbers))
        self.is_at_work.set()
        assert self.may_go_on.wait(PATIENCE)
        if -1 in numbers:
            raise ValueError("minus one")
        return [2 * number for number in numbers]


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(20)


def lined_up(
    desk: Desk, threads: ThreadPoolExecutor, first: int, others: Sequence[int]
) -> list[Future[int]]:
    """The first is at work, and the others wait for it, in their order."""
    futures = [threads.submit(desk.asked.ask, "k", first)]
    assert desk.is_at_work.wait(PATIENCE)
    for count, number in enumerate(others, 1):
        futures.append(threads.submit(desk.asked.ask, "k", number))
        until(lambda count=count: len(desk.asked._waiting["k"]) == count)  # pyright: ignore[reportPrivateUsage]
    return futures


def until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if is_so():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to be so")


def test_who_comes_meanwhile_is_answered_together(threads: ThreadPoolExecutor):
    desk = Desk()
    futures = lined_up(desk, threads, 1, [2, 3, 4])
    desk.may_go_on.set()
    assert [one.result(PATIENCE) for one in futures] == [2, 4, 6, 8]
    assert desk.groups == [(1,), (2, 3, 4)]


def test_a_group_has_no_more_than_so_many(threads: ThreadPoolExecutor):
    desk = Desk(most=2)
    futures = lined_up(desk, threads, 1, [2, 3, 4])
    desk.may_go_on.set()
    assert [one.result(PATIENCE) for one in futures] == [2, 4, 6, 8]
    assert desk.groups == [(1,), (2, 3), (4,)]


def test_who_asks_of_another_key_waits_for_nobody(threads: ThreadPoolExecutor):
    desk = Desk()
    first = threads.submit(desk.asked.ask, "k", 1)
    assert desk.is_at_work.wait(PATIENCE)
    desk.is_at_work.clear()
    other = threads.submit(desk.asked.ask, "other", 5)
    assert desk.is_at_work.wait(PATIENCE)
    desk.may_go_on.set()
    assert (first.result(PATIENCE), other.result(PATIENCE)) == (2, 10)


def test_of_a_group_that_fails_each_is_asked_alone(threads: ThreadPoolExecutor):
    desk = Desk()
    futures = lined_up(desk, threads, 1, [2, -1, 4])
    desk.may_go_on.set()
    with pytest.raises(ValueError, match="minus one"):
        futures.pop(2).result(PATIENCE)
    assert [one.result(PATIENCE) for one in futures] == [2, 4, 8]
    assert desk.groups[:2] == [(1,), (2, -1, 4)]
    assert sorted(desk.groups[2:]) == [(-1,), (2,), (4,)]


def test_one_that_fails_alone_keeps_nobody_waiting(threads: ThreadPoolExecutor):
    desk = Desk()
    futures = lined_up(desk, threads, -1, [2])
    desk.may_go_on.set()
    with pytest.raises(ValueError, match="minus one"):
        futures[0].result(PATIENCE)
    assert futures[1].result(PATIENCE) == 4


def test_a_group_is_no_heavier_than_that(threads: ThreadPoolExecutor):
    desk = Desk(most=10)
    futures = [threads.submit(desk.asked.ask, "k", 1)]
    assert desk.is_at_work.wait(PATIENCE)
    for count, (number, weight) in enumerate([(2, 4), (3, 6), (4, 1), (5, 99), (6, 1)], 1):
        futures.append(threads.submit(desk.asked.ask, "k", number, weight))
        until(lambda count=count: len(desk.asked._waiting["k"]) == count)  # pyright: ignore[reportPrivateUsage]
    desk.may_go_on.set()
    assert [one.result(PATIENCE) for one in futures] == [2, 4, 6, 8, 10, 12]
    assert desk.groups == [(1,), (2, 3), (4,), (5,), (6,)]


@pytest.mark.parametrize("woken", [False, True])
def test_who_is_interrupted_leaves_the_line_to_the_others(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, *, woken: bool
):
    desk, interrupt = Desk(), threading.Event()
    wait = Asked[int, int].wait

    def interrupted(asked: Any) -> None:
        if asked.question == 2:
            assert interrupt.wait(PATIENCE)
            raise KeyboardInterrupt
        wait(asked)

    monkeypatch.setattr(Asked, "wait", interrupted)
    futures = lined_up(desk, threads, 1, [2, 3])
    if woken:
        desk.may_go_on.set()
        assert futures[0].result(PATIENCE) == 2
    interrupt.set()
    with pytest.raises(KeyboardInterrupt):
        futures[1].result(PATIENCE)
    desk.may_go_on.set()
    assert futures[2].result(PATIENCE) == 6
    assert threads.submit(desk.asked.ask, "k", 4).result(PATIENCE) == 8


def test_many_threads_get_the_answers_to_what_they_asked(threads: ThreadPoolExecutor):
    desk = Desk(most=5)
    desk.may_go_on.set()

    def ask(number: int) -> int:
        return desk.asked.ask(number % 3, number)

    assert list(threads.map(ask, range(2000))) == [2 * number for number in range(2000)]
    assert desk.asked._waiting == {}  # pyright: ignore[reportPrivateUsage]
