"""Whether a folder is as it was, without reading it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_runtime.domain import folder_stamp
from factory_runtime.domain.folder_stamp import Unchanged, stamp_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with files, that counts as settled at once."""
    monkeypatch.setattr(folder_stamp, "_SETTLED_NANOSECONDS", -1)
    place = tmp_path / "folder"
    (place / "in").mkdir(parents=True)
    (place / "in" / "one").write_text("1")
    (place / "two").write_text("2")
    return place


def same_size_and_time(place: Path) -> None:
    times = place.stat()
    place.write_text("3")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_a_link(folder: Path) -> None:
    (folder / "two").unlink()
    (folder / "two").symlink_to("in")


CHANGES: dict[str, Callable[[Path], object]] = {
    "other content": lambda folder: same_size_and_time(folder / "in" / "one"),
    "gone": lambda folder: (folder / "in" / "one").unlink(),
    "gone from the top": lambda folder: (folder / "two").unlink(),
    "one more": lambda folder: (folder / "in" / "more").touch(),
    "another mode": lambda folder: (folder / "two").chmod(0o700),
    "another name": lambda folder: (folder / "two").rename(folder / "three"),
    "a link": replace_by_a_link,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_it_is_seen(folder: Path, change: Callable[[Path], object]):
    before = stamp_of([folder])
    assert before is not None
    assert stamp_of([folder]) == before
    change(folder)
    assert stamp_of([folder]) != before


def test_what_changed_a_moment_ago_has_no_stamp(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_stamp, "_SETTLED_NANOSECONDS", 60_000_000_000)
    assert stamp_of([folder]) is None
    assert stamp_of([folder / "gone"]) is None


def test_a_value_is_made_again_when_its_folder_has_changed(folder: Path):
    made = Unchanged[str]()

    def get() -> str:
        return made.get("key", (folder / "two").read_text, lambda _: [folder])

    assert get() == "2"
    same_size_and_time(folder / "two")
    assert get() == "3"


def test_a_folder_that_was_looked_at_just_now_is_trusted_where_that_is_wanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    made, now = Unchanged[str](), 100.0
    monkeypatch.setattr(Unchanged, "trusted_seconds", 0.25)
    monkeypatch.setattr(folder_stamp.time, "monotonic", lambda: now)

    def read() -> str:
        return made.get("k", (folder / "two").read_text, lambda _: [folder])

    assert read() == "2"
    (folder / "two").write_text("new")
    now += 0.2
    assert read() == "2"
    now += 0.1
    assert read() == "new"


def test_a_value_is_made_once_while_its_folder_stays(folder: Path):
    made, calls = Unchanged[int](), list[int]()

    def make() -> int:
        calls.append(1)
        return len(calls)

    assert [made.get("key", make, lambda _: [folder]) for _ in range(3)] == [1, 1, 1]
    folder.joinpath("two").unlink()
    assert made.get("key", make, lambda _: [folder]) == 2


REMOVALS: dict[str, Callable[[Path], object]] = {
    "of a file at the top": lambda folder: (folder / "two").unlink(),
    "of content": lambda folder: same_size_and_time(folder / "two"),
}


@pytest.mark.parametrize("change", REMOVALS.values(), ids=REMOVALS)
def test_what_changes_while_a_value_is_made_is_not_taken_for_what_it_was_made_of(
    folder: Path, change: Callable[[Path], object]
):
    made = Unchanged[str]()

    def slowly() -> str:
        value = (folder / "two").read_text()
        time.sleep(0.03)  # file systems tell time by the tick
        change(folder)
        return value

    assert made.get("key", slowly, lambda _: [folder]) == "2"
    assert made.get("key", lambda: "anew", lambda _: [folder]) == "anew"
