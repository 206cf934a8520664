"""A part of the runtime is opened once, whichever threads ask for it first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Barrier

import pytest

from factory_runtime.bootstrap.opened_once import opened_once

MANY = 8


class House:
    opened = 0

    @opened_once
    def door(self) -> object:
        self.opened += 1
        time.sleep(0.05)  # whoever else may run, does
        return object()


def without_lock(self: cached_property[object], instance: House, owner: object = None) -> object:
    """What ``cached_property`` does from Python 3.12 on."""
    del owner
    name = str(self.attrname)
    if name not in vars(instance):
        vars(instance)[name] = self.func(instance)
    return vars(instance)[name]


def test_threads_that_ask_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_property, "__get__", without_lock)
    house, together = House(), Barrier(MANY)

    def ask(_: int) -> object:
        together.wait()
        return house.door

    with ThreadPoolExecutor(MANY) as threads:
        assert len(set(threads.map(ask, range(MANY)))) == 1
    assert house.opened == 1
