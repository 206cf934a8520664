"""A process that signals itself around one commit."""

from __future__ import annotations

import inspect
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

from factory_runtime.ports import (
    DispatchTransaction,
    RunStore,
    RunTransaction,
)
from factory_runtime.run_store import SqlRunStore
from tests.recovery.core_ports import Wrap

T = TypeVar("T")


class SignallingStore:
    """Implements ports.RunStore: this process signals itself around one commit.

    The commit is the ``nth`` of those that one place in the code asks for.
    """

    def __init__(
        self, store: SqlRunStore, place: str, nth: int, number: int, *, committed: bool
    ) -> None:
        self.asked: list[str] = []
        """Who began a writing transaction, in their order."""
        self._store = store
        self._at = (place, nth)
        self._number = number
        self._committed = committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> AbstractContextManager[RunTransaction]:
        begun = self._store.begin(tenant_id, read_only=read_only, durable=durable)
        return begun if read_only else self._signalling(begun, _caller())

    def begin_dispatch(
        self, *, read_only: bool = False
    ) -> AbstractContextManager[DispatchTransaction]:
        begun = self._store.begin_dispatch(read_only=read_only)
        return begun if read_only else self._signalling(begun, _caller())

    @contextmanager
    def _signalling(self, begun: AbstractContextManager[T], caller: FrameType) -> Generator[T]:
        place = caller.f_code.co_qualname.removesuffix(".<locals>.write")
        self.asked.append(place)
        signals = (place, self.asked.count(place)) == self._at
        with begun as tx:
            yield tx
            if signals and not self._committed:
                os.kill(os.getpid(), self._number)
        if signals and self._committed:
            os.kill(os.getpid(), self._number)


def signalling(place: str, nth: int, number: int, *, committed: bool) -> Wrap:
    """Have a worker signal itself when ``place`` commits for the ``nth`` time, before or after."""
    return partial(_signalling, place=place, nth=nth, number=number, committed=committed)


def _signalling(store: SqlRunStore, **how: Any) -> RunStore:
    return cast(RunStore, SignallingStore(store, **how))


def _caller() -> FrameType:
    """Who called the function that calls this one."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    assert frame.f_back.f_back is not None
    return frame.f_back.f_back
