"""Programs of an attempt, and what becomes of them: real processes, really killed."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from factory_runtime.domain.errors import CancelledError, TransientError
from factory_runtime.services.children import MARK, Children

SECONDS_TO_BE_GONE = 5

# What a child leaves behind beside itself; NAP is a sleep that the test tells from all others.
FAMILIES = {
    "in the session": "NAP & exec NAP",
    "in a process group of its own": "set -m; NAP & exec NAP",
    "in a session of its own": "setsid NAP & exec NAP",
    "as a daemon": "setsid -f NAP; exec NAP",
    "after its parent ended": "(NAP &); exec NAP",
    "without an environment or parent": "(env -i NAP &); exec env -i NAP",
    "without an environment or session": "setsid env -i NAP & exec NAP",
}


class Nap:
    """Processes that sleep for a time that nobody else sleeps for."""

    def __init__(self) -> None:
        self.seconds = f"9999.{secrets.randbelow(10**12)}"
        self.command = ["sleep", self.seconds]

    def script(self, family: str) -> list[str]:
        return ["bash", "-c", FAMILIES[family].replace("NAP", f"sleep {self.seconds}")]

    def processes(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                if process.cmdline()[-2:] == self.command:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_for(self, count: int) -> None:
        give_up = time.monotonic() + 30
        while (there := len(self.processes())) < count:
            assert time.monotonic() < give_up, f"{there} of {count} processes came up"
            time.sleep(0.01)

    def assert_gone(self) -> None:
        """Within the seconds that a child may take."""
        give_up = time.monotonic() + SECONDS_TO_BE_GONE
        while (left := self.processes()) and time.monotonic() < give_up:
            time.sleep(0.02)
        assert left == []


@pytest.fixture
def nap() -> Generator[Nap]:
    nap = Nap()
    yield nap
    for process in nap.processes():  # of a test that failed
        process.kill()


@pytest.fixture
def children() -> Generator[Children]:
    children = Children()
    yield children
    children.kill_all()


def guards(parent: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(parent).children()
        if "factory_runtime.services.children" in process.cmdline()
    ]


# --- while they run


def test_exit_code_and_output_reach_the_caller(children: Children, tmp_path: Path) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        child = children.start(
            ["sh", "-c", "pwd; echo wrong >&2; cat; exit 7"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    printed, _ = child.communicate()
    assert (child.returncode, printed.decode()) == (7, f"{tmp_path}\n")
    assert (tmp_path / "errors").read_text() == "wrong\n"


def test_a_child_can_be_signalled_and_says_what_ended_it(children: Children, nap: Nap) -> None:
    child = children.start(nap.command)
    child.terminate()
    assert child.wait() == -signal.SIGTERM


def test_a_child_gets_the_environment_it_is_given_and_a_mark(children: Children) -> None:
    child = children.start(
        ["env"], env={"PATH": os.environ["PATH"], "GREETING": "hello"}, stdout=subprocess.PIPE
    )
    printed, _ = child.communicate()
    names = {line.partition(b"=")[0].decode() for line in printed.splitlines()}
    assert names == {"PATH", "GREETING", MARK}


def test_each_child_leads_a_session_of_its_own(children: Children, nap: Nap) -> None:
    one, other = children.start(nap.command), children.start(nap.command)
    assert (os.getsid(one.pid), os.getsid(other.pid)) == (one.pid, other.pid)


def test_all_children_of_an_attempt_have_one_guard(children: Children, nap: Nap) -> None:
    before = len(guards(os.getpid()))
    for _ in range(3):
        children.start(nap.command)
    assert len(guards(os.getpid())) == before + 1


def test_a_program_that_is_not_there_is_said_at_once(children: Children, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        children.start([str(tmp_path / "nothing")])
    assert children.start(["true"]).wait() == 0


def test_nothing_is_started_that_cannot_be_guarded(
    children: Children, nap: Nap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TransientError, match="guard"):
        children.start(nap.command)
    assert nap.processes() == []
    monkeypatch.undo()
    children.start(nap.command)
    nap.wait_for(1)


# --- when the attempt ends


def test_a_normal_end_leaves_nothing() -> None:
    before = {process.pid for process in psutil.Process().children()}
    children = Children()
    assert children.start(["true"]).wait() == 0
    children.kill_all()
    assert {process.pid for process in psutil.Process().children()} <= before


def test_what_a_child_left_running_ends_with_the_attempt(children: Children, nap: Nap) -> None:
    child = children.start(["sh", "-c", f"sleep {nap.seconds} & exit 0"])
    assert child.wait() == 0
    nap.wait_for(1)
    children.kill_all()
    assert nap.processes() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_children_are_killed_with_all_they_started(
    family: str, children: Children, nap: Nap
) -> None:
    child = children.start(nap.script(family))
    nap.wait_for(2)
    children.kill_all()
    assert nap.processes() == []
    assert child.returncode == -signal.SIGKILL


def test_another_thread_can_kill_what_one_waits_for(children: Children, nap: Nap) -> None:
    child = children.start(nap.script("in the session"))
    nap.wait_for(2)
    killer = threading.Thread(target=children.kill_all)
    killer.start()
    assert child.wait() == -signal.SIGKILL
    killer.join()
    assert nap.processes() == []


def test_nothing_starts_after_all_were_killed(children: Children, nap: Nap) -> None:
    children.start(nap.command)
    children.kill_all()
    children.kill_all()
    with pytest.raises(CancelledError, match="sleep was not started"):
        children.start(nap.command)
    assert nap.processes() == []


def test_nothing_starts_where_all_were_killed_before_the_first(nap: Nap) -> None:
    children = Children()
    children.kill_all()
    with pytest.raises(CancelledError):
        children.start(nap.command)
    assert nap.processes() == []


def test_children_that_start_while_all_are_killed_are_killed_too(nap: Nap) -> None:
    children = Children()
    ended: list[CancelledError] = []

    def start_for_ever() -> None:
        try:
            while True:
                children.start(nap.command)
        except CancelledError as error:
            ended.append(error)

    starters = [threading.Thread(target=start_for_ever) for _ in range(3)]
    for starter in starters:
        starter.start()
    nap.wait_for(5)
    children.kill_all()
    assert nap.processes() == []
    for starter in starters:
        starter.join()
    assert len(ended) == 3
    assert nap.processes() == []


def test_nobody_elses_processes_are_touched(children: Children, nap: Nap) -> None:
    others = Children()
    theirs = others.start(nap.script("in the session"))
    with subprocess.Popen(nap.command, env={**os.environ, MARK: "another"}) as stranger:
        children.start(nap.script("as a daemon"))
        nap.wait_for(5)
        children.kill_all()
        assert len(nap.processes()) == 3
        assert (theirs.poll(), stranger.poll()) == (None, None)
        stranger.kill()
    others.kill_all()
    assert nap.processes() == []


# --- when this process is killed

_PARENT = """
import sys, threading, time
from factory_runtime.services.children import Children

children = Children()
many = sys.argv[1] == "many"

def work():
    while True:
        children.start(sys.argv[2:])
        if not many:
            break

# A thread that is gone when the process is killed, like one of a pool.
worker = threading.Thread(target=work)
worker.start()
worker.join()
print("started", flush=True)
time.sleep(9999)
"""


def a_parent(how_many: str, command: list[str]) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", _PARENT, how_many, *command]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, start_new_session=True)


def kill(parent: subprocess.Popen[bytes]) -> None:
    """Not waiting for the end of its output: its children have that too."""
    parent.kill()
    parent.wait()
    assert parent.stdout is not None
    parent.stdout.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_parent_takes_its_children_along(family: str, nap: Nap) -> None:
    parent = a_parent("one", nap.script(family))
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    nap.wait_for(2)
    (guard,) = guards(parent.pid)
    kill(parent)
    nap.assert_gone()
    assert psutil.wait_procs([guard], timeout=SECONDS_TO_BE_GONE)[1] == []


def test_a_parent_killed_while_it_starts_children_takes_all_of_them_along(nap: Nap) -> None:
    moments = random.Random(3)  # noqa: S311 - any moment will do
    for _ in range(4):
        parent = a_parent("many", nap.command)
        nap.wait_for(1)
        time.sleep(moments.uniform(0, 0.05))
        kill(parent)
        nap.assert_gone()


def test_a_guard_that_is_asked_to_stop_stays_until_its_parent_is_gone(nap: Nap) -> None:
    """As a service manager stops a service: everybody is asked first, then the rest killed."""
    parent = a_parent("one", ["sh", "-c", f"trap '' TERM; sleep {nap.seconds} & wait"])
    nap.wait_for(1)
    (guard,) = guards(parent.pid)
    guard.terminate()
    kill(parent)
    nap.assert_gone()


def test_children_have_another_guard_after_theirs_was_killed(nap: Nap) -> None:
    script = f"""
import os, signal, sys, time
import psutil
from factory_runtime.services.children import Children

children = Children()
children.start({nap.command})
# By its own words: a child is called as this is until it has become its program.
(guard,) = [p for p in psutil.Process().children() if "{Children.__module__}" in p.cmdline()]
guard.kill()
guard.wait()
children.start({nap.command})
time.sleep(9999)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    nap.wait_for(2)
    kill(parent)
    nap.assert_gone()
