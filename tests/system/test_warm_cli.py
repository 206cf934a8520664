"""A command from the nursery is what the real one is, and leaves nothing of itself to the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.factory import FACTORY
from tests.warm_cli import nursery

INPUTS = "service_name: orders\ndescription: größere Bestellungen\n"
DRY = ("run", "microservice", "--inputs", "-", "--dry-run")
PATIENCE = 60


def type_it(
    program: Path, *words: str, text: str | None = None, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words], input=text, cwd=folder, env=environment,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


@contextmanager
def sweeping(folder: Path, *, own_session: bool = False) -> Generator[subprocess.Popen[str]]:
    """A launcher whose command is at work, and goes on."""
    with subprocess.Popen(
        [nursery().factory, "sweep", "--loop", "1s", "--json"], env={"FACTORY_HOME": str(folder)},
        stdout=subprocess.PIPE, text=True, start_new_session=own_session,
    ) as launcher:  # fmt: skip
        assert launcher.stdout is not None
        assert launcher.stdout.readline().startswith("{")
        yield launcher
        launcher.kill()


def the_command() -> psutil.Process:
    (command,) = psutil.Process(nursery().pid).children()
    return command


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (DRY, INPUTS, 0),
        (DRY, "service_name: 7", 2),
        (("runs", "show", "run-nope"), None, 3),
        (("no-such-command",), None, 2),
    ],
)
def test_it_answers_as_the_real_one_does(
    words: tuple[str, ...], text: str | None, code: int, tmp_path: Path
) -> None:
    warm, real = (
        type_it(program, *words, text=text, folder=tmp_path)
        for program in (nursery().factory, FACTORY)
    )
    assert warm.returncode == real.returncode == code
    assert (warm.stdout, warm.stderr) == (real.stdout, real.stderr)


def test_environment_and_folder_are_those_of_one_call(tmp_path: Path) -> None:
    for name in ("one", "two", "home"):
        (tmp_path / name).mkdir()
    program, words = nursery().factory, ("runs", "show", "run-nope", "--json")
    wrong = {"FACTORY_HOME": str(tmp_path / "home"), "FACTORY_LEASE_SECONDS": "none"}
    assert type_it(program, *words, folder=tmp_path / "one", **wrong).returncode == 2
    assert type_it(program, *words, folder=tmp_path / "two").returncode == 3
    assert [place.name for place in tmp_path.glob("*/.factory")] == [".factory"]
    assert (tmp_path / "two" / ".factory").is_dir()


def test_an_argument_that_is_no_text_comes_through(tmp_path: Path) -> None:
    done = subprocess.run([nursery().factory, b"\xff"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, b"no text" in done.stderr) == (2, True)


def test_more_words_than_one_message_holds_come_through(tmp_path: Path) -> None:
    program, long = nursery().factory, "x" * 100_000
    done = type_it(program, "runs", "show", *[long] * 5, folder=tmp_path)
    assert (done.returncode, long in done.stderr) == (2, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -15)])
def test_a_signal_reaches_the_command_and_how_it_ends_comes_back(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with sweeping(tmp_path) as launcher:
        launcher.send_signal(number)
        assert launcher.wait(PATIENCE) == code


def test_a_command_leads_a_session_where_its_launcher_does(tmp_path: Path) -> None:
    with sweeping(tmp_path, own_session=True):
        pid = the_command().pid
        assert os.getsid(pid) == pid
    with sweeping(tmp_path):
        assert os.getsid(the_command().pid) == os.getsid(nursery().pid)


def test_a_killed_launcher_leaves_nothing(tmp_path: Path) -> None:
    with sweeping(tmp_path) as launcher:
        command = the_command()
        launcher.kill()
        _, left = psutil.wait_procs([command], timeout=PATIENCE)
    assert left == []


KEEPER = """
import os, signal, subprocess, sys
from tests.warm_cli import Nursery
nursery = Nursery()
with subprocess.Popen([nursery.factory, "sweep", "--loop", "1s", "--json"], stdout=-1) as one:
    one.stdout.readline()
    print(nursery.pid, nursery.factory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_nursery_and_its_commands_end_with_who_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], env={"FACTORY_HOME": str(tmp_path)},
        stdout=subprocess.PIPE, text=True,
    ) as keeper:  # fmt: skip
        said, _ = keeper.communicate(timeout=PATIENCE)
    pid, launcher = said.split()
    with_commands: list[psutil.Process] = []
    if psutil.pid_exists(int(pid)):
        its = psutil.Process(int(pid))
        with_commands = [its, *its.children(recursive=True)]
    _, left = psutil.wait_procs(with_commands, timeout=PATIENCE)
    assert left == []
    assert not Path(launcher).parents[1].exists()


THREADS = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
HIDDEN = "import _thread; _thread.start_new_thread(__import__('time').sleep, (60,))"  # as C does
SPOILT = "import sys; sys.modules['lancedb'] = sys"


@pytest.mark.parametrize(
    ("before", "told"),
    [(THREADS, "threads before a fork"), (HIDDEN, "libraries"), (SPOILT, "lancedb")],
)
def test_what_makes_a_fork_unsafe_is_refused_loudly(before: str, told: str) -> None:
    code = f"{before}\nfrom tests.warm_cli import check_that_forking_is_safe as check\ncheck()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_a_nursery_that_is_gone_is_told_with_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "nursery"
    folder.mkdir()
    (folder / "log").write_text("it had a thread")
    launch = Path(__file__).parents[1] / "launch_cli.py"
    done = type_it(Path(sys.executable), str(launch), str(folder), folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "the nursery is gone: it had a thread\n")
