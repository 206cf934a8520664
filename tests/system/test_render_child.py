"""The render's child and the server it is forked from: killed, stopped, and side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from factory_runtime.domain.errors import CancelledError, TransientError
from factory_runtime.jobs.render.box import RenderKilledError
from tests.renders import ENDLESS, LIMITS, Box, child_of, renders_below, servers_below

SHORT = {"a.txt.jinja": "{{ name }}"}


def test_a_cancelled_render_stops(box: Box) -> None:
    box.add("files/base", ENDLESS)

    with pytest.raises(CancelledError):
        box.render(("files/base", {}), cancelled=lambda: child_of(box.scratch) is not None)


def test_an_exception_in_the_parent_takes_the_child_along(box: Box) -> None:
    box.add("files/base", ENDLESS)

    def interrupted() -> bool:
        if child_of(box.scratch) is not None:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        box.render(("files/base", {}), cancelled=interrupted)


def test_a_child_that_somebody_else_kills_may_be_tried_again(box: Box) -> None:
    box.add("files/base", ENDLESS)

    def kill() -> bool:
        if child := child_of(box.scratch):
            child.kill()
        return False

    with pytest.raises(RenderKilledError, match="SIGKILL"):
        box.render(("files/base", {}), cancelled=kill)


_PARENT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits

root, digest = Path(sys.argv[1]), sys.argv[2]
storage = LocalArtifactStorage(root / "artifacts")
order = RenderOrder((Layer("files/base", {}),))
limits = RenderLimits(wall=timedelta(minutes=1))
arguments = (order, {"files/base": digest}, storage, "acme", limits)
# On a thread, as attempts are.
ThreadPoolExecutor().submit(render, *arguments, scratch=root / "scratch").result()
"""


@pytest.mark.parametrize("begun", [False, True], ids=["at its start", "in its middle"])
def test_a_killed_parent_takes_the_child_along(box: Box, begun: bool) -> None:
    digest = box.add("files/base", ENDLESS)
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(box.root), digest])
    try:
        while (child := child_of(box.scratch, begun=begun)) is None:
            assert parent.poll() is None
            time.sleep(0.02)  # to look through all processes takes time that the child needs
        below = psutil.Process(parent.pid).children(recursive=True)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()

    assert child in below
    assert len(below) == 3  # the server, who waits for the child, and the child
    assert psutil.wait_procs(below, timeout=30)[1] == []
    for staging in box.scratch.iterdir():  # a killed parent cannot clean up
        psutil.Popen(["rm", "-r", str(staging)]).wait()


# --- the fork server


def the_server() -> psutil.Process:
    (server,) = servers_below(psutil.Process())
    return server


def test_renders_at_once_share_a_server_and_one_that_is_stopped_stops_no_other(box: Box) -> None:
    box.add("files/base", SHORT)
    box.add("files/endless", ENDLESS)
    begun, stop = threading.Event(), threading.Event()

    def stopped() -> bool:
        if len(renders_below(psutil.Process())) >= 4:  # two children, and who waits for them
            begun.set()
        return stop.is_set()

    with ThreadPoolExecutor(2) as threads:
        endless = [
            threads.submit(box.render, ("files/endless", {}), cancelled=stopped) for _ in range(2)
        ]
        assert begun.wait(30)
        for name in ("a", "b", "c"):
            rendered = box.tree(box.render(("files/base", {"name": name})))
            assert rendered["a.txt"].content == name.encode()
        the_server()
        assert not any(each.done() for each in endless)
        stop.set()
        for each in endless:
            with pytest.raises(CancelledError):
                each.result()


def test_a_render_outlives_its_server_and_the_next_gets_another(box: Box) -> None:
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    box.add("files/endless", ENDLESS)
    first, at_work = the_server(), 0

    def killed() -> bool:
        nonlocal at_work
        if child := child_of(box.scratch):
            if first.is_running() and first.status() != psutil.STATUS_ZOMBIE:
                first.kill()
            else:
                at_work += child.status() == psutil.STATUS_RUNNING
        return at_work > 2

    with pytest.raises(CancelledError):
        box.render(("files/endless", {}), cancelled=killed)

    assert box.tree(box.render(("files/base", {"name": "next"})))["a.txt"].content == b"next"
    assert the_server().pid != first.pid


def test_renders_that_nobody_wants_before_they_begin_harm_no_other(box: Box) -> None:
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    server, done = the_server(), threading.Event()

    def never_wanted() -> int:
        refused = 0
        while not done.is_set():
            with pytest.raises(CancelledError):
                box.render(("files/base", {"name": "x"}), cancelled=lambda: True)
            refused += 1
        return refused

    with ThreadPoolExecutor(2) as threads:
        unwanted = [threads.submit(never_wanted) for _ in range(2)]
        try:
            for number in range(10):
                rendered = box.tree(box.render(("files/base", {"name": str(number)})))
                assert rendered["a.txt"].content == str(number).encode()
        finally:
            done.set()
    assert all(each.result() > 0 for each in unwanted)
    assert the_server().pid == server.pid


def test_a_server_that_hangs_is_given_up_and_no_template_blamed(box: Box) -> None:
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    the_server().suspend()
    box.limits = replace(LIMITS, wall=timedelta(seconds=1))
    with pytest.raises(TransientError, match="does not answer"):
        box.render(("files/base", {"name": "late"}))
    box.limits = LIMITS
    assert box.tree(box.render(("files/base", {"name": "next"})))["a.txt"].content == b"next"
    the_server().suspend()
    stop = time.monotonic() + 0.2
    with pytest.raises(CancelledError):
        box.render(("files/base", {"name": "x"}), cancelled=lambda: time.monotonic() > stop)
    assert box.tree(box.render(("files/base", {"name": "last"})))["a.txt"].content == b"last"


_DEAF = """
import os, socket, time
from factory_runtime.jobs.render import fork_server

ours, theirs = socket.socketpair()

def answer(keeper):
    os.closerange(3, 256)
    time.sleep(600)

if os.fork() == 0:
    ours.close()
    nothing = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
    fork_server._keep(answer, theirs.fileno(), *nothing)
theirs.close()
assert ours.recv(1) == fork_server.BEGUN
time.sleep(0.3)
ours.shutdown(socket.SHUT_WR)
print(ours.recv(8).decode())
"""


def test_a_child_that_closes_what_tells_of_its_end_can_be_killed_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DEAF], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(-signal.SIGKILL)


def test_who_waits_for_a_child_is_killed_with_it(box: Box) -> None:
    box.add("files/base", ENDLESS)
    seen: list[psutil.Process] = []

    def kill() -> bool:
        if not seen and (child := child_of(box.scratch)):
            keeper = child.parent()
            assert keeper is not None
            seen.append(child)
            keeper.kill()
        return False

    with pytest.raises(RenderKilledError, match="SIGKILL"):
        box.render(("files/base", {}), cancelled=kill)
    assert psutil.wait_procs(seen, timeout=30)[1] == []


def test_a_child_finds_nothing_of_who_asked(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    the_server().kill()
    monkeypatch.setenv("FACTORY_CANARY", "ours")
    box.add("files/endless", ENDLESS)
    seen: list[tuple[str, list[str]]] = []

    def look() -> bool:
        if child := child_of(box.scratch):
            place = Path("/proc") / str(child.pid)
            files: list[str] = []
            for each in (place / "fd").iterdir():
                with suppress(FileNotFoundError):  # it has closed it meanwhile
                    files.append(each.readlink().name.partition(":")[0])
            seen.append(((place / "environ").read_text(), files))
        return bool(seen)

    with pytest.raises(CancelledError):
        box.render(("files/endless", {}), cancelled=look)

    ((environment, files),) = seen
    assert "PYTHONUTF8" in environment
    assert "FACTORY_CANARY" not in environment
    at_hand = {"begun.txt", "z.jinja"}  # it renders them
    others = sorted(name for name in files if name not in at_hand)
    assert others == ["null", "pipe", "request.json", "stderr"]


_FORKED = """
import os, sys
from pathlib import Path
import psutil
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits
from tests.renders import servers_below

root, digest = Path(sys.argv[1]), sys.argv[2]
storage = LocalArtifactStorage(root / "artifacts")
order = RenderOrder((Layer("files/base", {"name": "x"}),))

def once():
    render(order, {"files/base": digest}, storage, "acme", RenderLimits(), scratch=root / "scratch")

once()
if (child := os.fork()) == 0:
    once()
    os._exit(len(servers_below(psutil.Process())))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "its own, and no other"
once()
print(*(each.pid for each in servers_below(psutil.Process())))
"""


def test_a_process_that_was_forked_has_a_server_of_its_own_and_none_outlives_its_process(
    box: Box,
) -> None:
    digest = box.add("files/base", SHORT)
    command = [sys.executable, "-c", _FORKED, str(box.root), digest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.split())) == (0, 1), done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def test_where_no_server_can_be_had_it_is_tried_again_later(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    the_server().kill()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho starts >&2\necho out of luck >&2\n")
    broken.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(broken))
        with pytest.raises(TransientError, match="no child can be started to render: out of luck"):
            box.render(("files/base", {"name": "late"}))
    assert box.tree(box.render(("files/base", {"name": "next"})))["a.txt"].content == b"next"


_CANNOT_FORK = "raise BlockingIOError"
_NO_PROCESS = "no process is to be had"


@pytest.mark.parametrize(
    ("fork", "told"),
    [
        (_CANNOT_FORK, _NO_PROCESS),
        (f"if os.getpid() == server: return forked()\n    {_CANNOT_FORK}", _NO_PROCESS),
        (
            "if os.getpid() == server: return forked()\n"
            "    if pid := forked(): os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return pid",
            "SIGKILL",
        ),
    ],
    ids=[
        "none to be had",
        "none to be had by who waits",
        "who waits is killed as its child begins",
    ],
)
def test_where_no_child_comes_of_it_the_server_stays_and_no_template_is_blamed(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: str, told: str
) -> None:
    """One that cannot fork stands in, as this user may have as many as there are."""
    box.add("files/base", SHORT)
    box.render(("files/base", {"name": "first"}))
    the_server().kill()
    cannot = tmp_path / "python"
    cannot.write_text(f"""#!{sys.executable}
import os, signal, socket
from factory_runtime.jobs.render import fork_server
server, forked = os.getpid(), os.fork
def fork():
    {fork}
os.fork = fork
fork_server.main()
""")
    cannot.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(cannot))
        for _ in range(2):
            with pytest.raises(TransientError, match=told):
                box.render(("files/base", {"name": "late"}))
        below = psutil.Process().children()
        (stood_in,) = [each for each in below if str(cannot) in each.cmdline()]
        stood_in.kill()
    assert box.tree(box.render(("files/base", {"name": "next"})))["a.txt"].content == b"next"
