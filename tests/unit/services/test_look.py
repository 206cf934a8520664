"""A look that may hang is shared, and nobody waits for it longer than they like."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from factory_runtime.services.look import Look

LONG = timedelta(hours=1)


def test_however_many_ask_there_is_one_look_at_a_time() -> None:
    go_on, looks = threading.Event(), list[int]()

    def look() -> int:
        looks.append(1)
        go_on.wait()
        return len(looks)

    shared = Look(look, timedelta(0))
    begun = [shared.begin() for _ in range(100)]
    with pytest.raises(TimeoutError):
        begun[0].result(timeout=0)
    go_on.set()
    assert {one.result(timeout=60) for one in begun} == {1}
    assert shared.begin().result(timeout=60) == 2


def test_what_was_found_counts_for_a_while() -> None:
    found = iter(range(10))
    look = Look(lambda: next(found), LONG)
    assert [look.begin().result(timeout=60) for _ in range(5)] == [0] * 5


def test_a_look_that_fails_is_tried_again() -> None:
    def fail() -> None:
        raise OSError("no")

    look = Look(fail, timedelta(0))
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            look.begin().result(timeout=60)


def test_where_no_thread_could_be_had_the_next_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Look(lambda: 7, LONG)

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError, match="new thread"):
            look.begin()
    assert look.begin().result(timeout=60) == 7
