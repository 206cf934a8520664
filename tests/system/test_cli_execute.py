"""Seeing a run through: stacks that die, Ctrl-C, and processes that are left behind."""

from __future__ import annotations

import importlib
import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from cli import execute, run_stack
from cli.desk.local import LocalDesk
from cli.door import StoreDoor
from cli.execute import follow_to_the_end
from cli.progress import LiveProgress, SilentProgress
from cli.run_stack import MAX_RESTARTS, RunStack
from cli.watching import Watcher
from deployments.stack import StackState
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.end_run import end_run
from tests.builders import a_memory
from tests.cli_home import T0, accept_run, begin_run, fail_run

# Deaf to SIGTERM, with a child in a session of its own that is deaf as well.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(
    [sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
     "print('deaf', flush=True); signal.pause()"],
    start_new_session=True,
    stdout=subprocess.PIPE,
)
child.stdout.readline()
print(child.pid, flush=True)
signal.pause()
"""
PRESSED = "a_module_amid_which_ctrl_c_is_pressed"
ENDS_AT_ONCE = "pass"
PATIENT = "import sys; sys.stdin.read()"


class Stacks:
    """Stands in for the local stack: real processes that execute nothing."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.started: list[subprocess.Popen[bytes]] = []
        self.act: Callable[[], object] = lambda: None

    def find(self, _: object) -> None:
        """None is up."""

    def start(self, *_: object, keep: bool) -> subprocess.Popen[bytes]:
        assert not keep
        child = subprocess.Popen(
            [sys.executable, "-c", self._code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.started.append(child)
        return child

    def wait(self, _: object, child: subprocess.Popen[bytes], told: object) -> StackState:
        self.act()
        return StackState(child.pid, "ready", "http://127.0.0.1:1/api")

    def close(self) -> None:
        for child in self.started:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def runtime(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Runtime]:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACTORY_DATABASE_URL", sqlite_url)
    runtime = open_runtime()
    yield runtime
    assert isinstance(runtime.store, SqlRunStore)
    runtime.store.close()


@pytest.fixture
def stacks_of(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[str], Stacks]]:
    opened: list[Stacks] = []

    def open_stacks(code: str) -> Stacks:
        stacks = Stacks(code)
        opened.append(stacks)
        monkeypatch.setattr(run_stack, "find_stack", stacks.find)
        monkeypatch.setattr(run_stack, "start_stack", stacks.start)
        monkeypatch.setattr(run_stack, "wait_for_stack", stacks.wait)
        return stacks

    yield open_stacks
    for stacks in opened:
        stacks.close()


class InterruptedProgress(SilentProgress):
    """Ctrl-C at each of these looks, counted from 1."""

    def __init__(self, *looks: int) -> None:
        self._looks = looks
        self._count = 0

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        self._count += 1
        if self._count in self._looks:
            raise KeyboardInterrupt


def follow(
    runtime: Runtime, run: Run, progress: SilentProgress | None = None
) -> tuple[Run, RunStack]:
    stack = RunStack(runtime.settings, lambda _: None)
    door = StoreDoor(LocalDesk(runtime, "local"), json=True)
    return follow_to_the_end(door, run, stack, progress or SilentProgress()), stack


def get_run(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin("local", read_only=True) as tx:
        return tx.get_run(run.id)


class ImportingProgress(SilentProgress):
    """Imports a module at the second look, as what is needed first then."""

    def __init__(self) -> None:
        self._count = 0

    def show(self, watcher: Watcher, events: Sequence[RunEvent]) -> None:
        self._count += 1
        if self._count == 2:
            importlib.import_module(PRESSED)


def be_executed(runtime: Runtime, run: Run) -> None:
    """As an executor leaves it that was stopped in the middle."""
    with runtime.store.begin("local") as tx:
        queued = run.move_to(RunStatus.QUEUED, T0, admitted_at=T0)
        tx.save_run(run, queued)
        tx.save_run(queued, queued.move_to(RunStatus.RUNNING, T0))


def test_a_run_that_has_ended_needs_no_stack(
    runtime: Runtime, stacks_of: Callable[[str], Stacks]
) -> None:
    stacks = stacks_of(PATIENT)
    ended, _ = follow(runtime, fail_run(runtime))
    assert ended.status is RunStatus.FAILED
    assert stacks.started == []


def test_a_stack_that_dies_is_started_again_and_then_given_up(
    runtime: Runtime, stacks_of: Callable[[str], Stacks]
) -> None:
    stacks = stacks_of(ENDS_AT_ONCE)
    run = accept_run(runtime)
    with pytest.raises(PrefectUnavailableError, match="died 3 times") as caught:
        follow(runtime, run)
    assert len(stacks.started) == 1 + MAX_RESTARTS
    assert caught.value.run_id == run.id
    failed = get_run(runtime, run)
    assert failed.status is RunStatus.FAILED
    assert "died 3 times" in (failed.error or "")


def test_a_stack_that_ends_because_the_run_did_is_not_missed(
    runtime: Runtime, stacks_of: Callable[[str], Stacks]
) -> None:
    stacks = stacks_of(ENDS_AT_ONCE)
    run = accept_run(runtime)
    stacks.act = lambda: end_run(
        runtime.store, runtime.clock, "local", run.id, RunStatus.CANCELLED, "elsewhere"
    )
    ended, _ = follow(runtime, run)
    assert ended.status is RunStatus.CANCELLED
    assert len(stacks.started) == 1


def test_ctrl_c_before_anything_executes_cancels_at_once(
    runtime: Runtime, stacks_of: Callable[[str], Stacks]
) -> None:
    stacks = stacks_of(PATIENT)
    ended, stack = follow(runtime, accept_run(runtime), InterruptedProgress(2))
    assert ended.status is RunStatus.CANCELLED
    stack.finish()
    assert stacks.started[0].poll() is not None


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_amid_an_import_is_heard_after_it_and_the_second_at_once(
    runtime: Runtime,
    stacks_of: Callable[[str], Stacks],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    stacks_of(PATIENT)
    press = "os.kill(os.getpid(), signal.SIGINT)"
    lines = ["import os, signal", *[press] * times, "WHOLE = True", ""]
    (tmp_path / f"{PRESSED}.py").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    ended, stack = follow(runtime, accept_run(runtime), ImportingProgress())
    stack.finish()
    assert ended.status is RunStatus.CANCELLED
    assert hasattr(sys.modules.pop(PRESSED, None), "WHOLE") == (times == 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("looks", [(2,), (2, 3)], ids=["once", "twice"])
def test_ctrl_c_ends_what_does_not_obey_and_all_its_children(
    runtime: Runtime,
    stacks_of: Callable[[str], Stacks],
    monkeypatch: pytest.MonkeyPatch,
    looks: tuple[int, ...],
) -> None:
    monkeypatch.setattr(execute, "CANCEL_SECONDS", 0.2)
    monkeypatch.setattr(run_stack, "TERMINATE_SECONDS", 0.2)
    stacks = stacks_of(STUBBORN)
    below: list[int] = []

    def read_pid() -> None:
        out = stacks.started[0].stdout
        assert out is not None
        below.append(int(out.readline()))

    stacks.act = read_pid
    run = accept_run(runtime)
    be_executed(runtime, run)
    ended, _ = follow(runtime, run, InterruptedProgress(*looks))
    assert ended.status is RunStatus.CANCELLED
    assert stacks.started[0].poll() is not None
    assert not _lives(below[0])


def test_a_temporary_stack_that_does_not_end_is_killed(
    runtime: Runtime, stacks_of: Callable[[str], Stacks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_stack, "FINISH_SECONDS", 0.1)
    monkeypatch.setattr(run_stack, "TERMINATE_SECONDS", 0.1)
    stacks = stacks_of(STUBBORN)
    stack = RunStack(runtime.settings, lambda _: None)
    stack.ensure()
    out = stacks.started[0].stdout
    assert out is not None
    below = int(out.readline())
    stack.finish()
    assert stacks.started[0].poll() is not None
    assert not _lives(below)


def test_ctrl_c_while_the_summary_is_written_leaves_no_stack(
    runtime: Runtime, stacks_of: Callable[[str], Stacks], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = stacks_of(PATIENT)
    run = accept_run(runtime)
    stacks.act = lambda: end_run(
        runtime.store, runtime.clock, "local", run.id, RunStatus.CANCELLED, "elsewhere"
    )

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "show_what_came", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute.execute(StoreDoor(LocalDesk(runtime, "local"), json=True), run)
    assert stacks.started[0].poll() is not None


def test_a_broken_memory_is_one_line_and_no_failure(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "memory").write_text("no folder")
    with runtime.store.begin("local") as tx:
        tx.save_memories([a_memory(tenant_id="local")])
    code = execute.execute(StoreDoor(LocalDesk(runtime, "local"), json=False), fail_run(runtime))
    out = capsys.readouterr().out
    assert code == 1
    assert len([line for line in out.splitlines() if line.startswith("no similar runs: ")]) == 1
    assert "generate-repo failed in attempt 1 of 5: the host" in out


@pytest.mark.parametrize("width", [40, 60, 120])
def test_live_progress_fits_the_terminal_and_keeps_statuses_whole(
    runtime: Runtime, width: int
) -> None:
    run = fail_run(runtime)
    out = io.StringIO()
    console = Console(file=out, width=width, height=30, highlight=False)
    watcher = Watcher(LocalDesk(runtime, "local").reading, run.id)
    with LiveProgress(SystemClock(), console) as progress:
        progress.show(watcher, watcher.look())
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert len([line for line in lines if line.strip()]) == len(watcher.lines)
    assert "Failed" in lines[0]
    assert "1/5" in lines[0]
    assert "1.5 s" in lines[0]
    assert "\x1b[31m" not in out.getvalue()


def test_live_progress_shows_how_far_a_job_is(runtime: Runtime) -> None:
    run = accept_run(runtime)
    job = begin_run(runtime, run)
    with runtime.store.begin("local") as tx:
        tx.note_progress(job, 0.45, "gathering\x1b[31m source 3 of 5")
    out = io.StringIO()
    watcher = Watcher(LocalDesk(runtime, "local").reading, run.id)
    with LiveProgress(SystemClock(), Console(file=out, width=120, height=30)) as progress:
        progress.show(watcher, watcher.look())
    assert re.search(r"generate-repo +Running +1/5 .*45% gathering.* source 3 of 5", out.getvalue())
    assert "\x1b[31m source" not in out.getvalue()


def _lives(pid: int) -> bool:
    """A killed process whose parent is gone may stay a moment, but as a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
