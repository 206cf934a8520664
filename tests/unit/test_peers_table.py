"""The pure half of the peers' benchmark: what a watch file says, and the table."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from benchmarks.peers.fan_out import FanOut
from benchmarks.peers.figures import PeerFigures, table
from benchmarks.peers.watch_file import (
    BrokenWatchFileError,
    Mark,
    Moment,
    NoJobRanError,
    jobs_ended,
    jobs_run_again,
    read_marks,
    seconds_to_next_job,
    write_mark,
)

BEGAN, ENDED = Moment.BEGAN, Moment.ENDED


def figures(
    tool: str = "Tool",
    *,
    jobs: int = 1002,
    jobs_per_second: float = 1.0,
    run_again: tuple[int, ...] = (0,),
) -> PeerFigures:
    return PeerFigures(tool, "1.2.3", "SQLite", jobs, jobs_per_second, 1.234, run_again, "pray")


def test_marks_come_back_as_they_were_written(tmp_path: Path) -> None:
    before = time.monotonic()
    write_mark(tmp_path / "watch", BEGAN, "root")
    write_mark(tmp_path / "watch", ENDED, "root")
    began, ended = read_marks((tmp_path / "watch").read_text())
    assert (began.moment, began.job, ended.moment, ended.job) == (BEGAN, "root", ENDED, "root")
    assert before <= began.at <= ended.at <= time.monotonic()


def test_marks_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    fan_out = FanOut(jobs=50, watch=str(tmp_path / "watch"))
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.map(fan_out.run_job, fan_out.names)
    marks = read_marks((tmp_path / "watch").read_text())
    assert len(marks) == 2 * len(fan_out.names)
    assert jobs_ended(marks) == dict.fromkeys(fan_out.names, 1)


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    assert read_marks("began a 1.0\nended a 2.") == (Mark(BEGAN, "a", 1.0),)
    assert read_marks("began a 1.") == ()
    assert read_marks("") == ()


@pytest.mark.parametrize("line", ["", "began a", "stopped a 1.0", "began a soon", "began a b 1.0"])
def test_a_whole_line_that_is_no_mark_is_refused(line: str) -> None:
    with pytest.raises(BrokenWatchFileError) as caught:
        read_marks(f"began root 1.0\n{line}\n")
    assert caught.value.line == line


def test_the_next_job_is_the_first_to_begin_after_the_kill() -> None:
    marks = [
        Mark(BEGAN, "a", 1.0),
        Mark(ENDED, "b", 3.5),
        Mark(BEGAN, "d", 5.0),
        Mark(BEGAN, "c", 4.0),
    ]
    assert seconds_to_next_job(marks, killed_at=3.0) == 1.0


def test_no_next_job_is_an_error_and_no_figure() -> None:
    with pytest.raises(NoJobRanError):
        seconds_to_next_job([Mark(BEGAN, "a", 1.0), Mark(ENDED, "a", 3.0)], killed_at=2.0)


def test_only_a_job_that_had_ended_before_the_kill_counts_as_run_again() -> None:
    marks = [
        *(Mark(BEGAN, job, 1.0) for job in ("finished", "interrupted", "redone")),
        *(Mark(ENDED, job, 2.0) for job in ("finished", "redone")),
        *(Mark(BEGAN, job, 4.0) for job in ("interrupted", "redone", "new")),
        *(Mark(ENDED, job, 5.0) for job in ("interrupted", "redone", "new")),
    ]
    assert jobs_run_again(marks, killed_at=3.0) == ("redone",)


def test_a_process_is_told_the_fan_out_by_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fan_out = FanOut(jobs=3, seconds=0.02, watch="/a place/watch")
    for name, value in fan_out.to_environment().items():
        monkeypatch.setenv(name, value)
    assert FanOut.from_environment() == fan_out
    assert fan_out.names == ("root", "job_0", "job_1", "job_2", "last")


def test_the_table_has_a_row_per_peer_with_its_figures_in_columns() -> None:
    rows = (
        figures("Tool", jobs_per_second=1234.56, run_again=(2, 0, 7)),
        figures("Another tool", jobs=20, jobs_per_second=0.44, run_again=(1, 1)),
    )
    head, first, second, *_ = table(rows).splitlines()
    assert len(head) == len(first) == len(second)
    assert first.split() == [
        "Tool",
        "1.2.3",
        "SQLite",
        "1,002",
        "1,234.6",
        "1.23",
        "0",
        "to",
        "7",
        "–",
    ]
    assert second.split() == ["Another", "tool", "1.2.3", "SQLite", "20", "0.4", "1.23", "1", "–"]


def test_the_table_says_what_a_person_has_to_do() -> None:
    assert "  Tool, SQLite: pray" in table([figures()]).splitlines()
