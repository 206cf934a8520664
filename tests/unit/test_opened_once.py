"""A part of the runtime is opened once, whichever threads ask for it first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from factory_runtime.bootstrap.opened_once import opened_once


class House:
    opened = 0

    @opened_once
    def door(self) -> object:
        self.opened += 1
        with ThreadPoolExecutor(1) as others:
            others.submit(int).result()  # whoever else may run, does
        return object()


def test_threads_that_ask_at_once_get_the_same() -> None:
    count = 8
    house, together = House(), Barrier(count)

    def ask(_: int) -> object:
        together.wait()
        return house.door

    with ThreadPoolExecutor(count) as threads:
        assert len(set(threads.map(ask, range(count)))) == 1
    assert house.opened == 1
    assert isinstance(House.door, opened_once)
