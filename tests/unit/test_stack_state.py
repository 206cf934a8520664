"""The local stack as seen from outside: who is it, and what does it say of itself."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.stack import (
    StackLock,
    StackState,
    environment_of,
    find_stack,
    read_state,
    stop_stack,
    wait_for_stack,
    write_state,
)
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.settings import Settings

API = "http://127.0.0.1:4200/api"


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def ended_child(code: str = "") -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-S", "-c", code])
    child.wait()
    return child


def test_where_nothing_was_ever_started_there_is_no_stack(home: Settings):
    assert find_stack(home) is None
    assert not stop_stack(home)
    assert not home.root.exists()


def test_who_holds_the_lock_is_the_stack(home: Settings):
    lock = StackLock(home)
    assert lock.take()
    write_state(home, StackState(os.getpid(), "ready", API))
    assert not StackLock(home).take()
    assert find_stack(home) == StackState(os.getpid(), "ready", API)
    lock.release()
    assert find_stack(home) is None
    assert lock.take()
    lock.release()


def test_a_stack_that_was_killed_is_no_stack_whatever_its_file_says(home: Settings):
    code = (
        "import os, signal\n"
        "from deployments.stack import *\n"
        "from factory_runtime.settings import Settings\n"
        "home = Settings()\n"
        "assert StackLock(home).take()\n"
        "write_state(home, StackState(os.getpid(), 'ready', ''))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"FACTORY_HOME": str(home.root)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    state = read_state(home)
    assert state is not None
    assert state.ready
    assert find_stack(home) is None
    assert not stop_stack(home)


def test_two_that_look_for_a_stack_do_not_see_each_other(home: Settings):
    one, two = StackLock(home), StackLock(home)
    assert one._try(fcntl.LOCK_SH)  # pyright: ignore[reportPrivateUsage] - in the middle of its look
    assert not two.held_by_another()
    one.release()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": 1}', '{"pid": 1, "more": 2}', "\ud800", "\x00"]
)
def test_a_damaged_state_is_no_state(home: Settings, text: str):
    home.stack_folder.mkdir(parents=True)
    (home.stack_folder / "stack.json").write_bytes(text.encode(errors="surrogatepass"))
    assert read_state(home) is None


def test_a_state_is_replaced_whole(home: Settings):
    home.stack_folder.mkdir(parents=True)
    for phase in ("starting", "ready"):
        write_state(home, StackState(7, phase, API, keep=True))
        assert read_state(home) == StackState(7, phase, API, keep=True)
    assert [place.name for place in home.stack_folder.iterdir()] == ["stack.json"]
    state = json.loads((home.stack_folder / "stack.json").read_text())
    assert state["api_url"] == API


def test_the_ui_is_beside_the_api():
    assert StackState(1, "ready", API).ui_url == "http://127.0.0.1:4200"


def test_who_waits_is_told_why_the_stack_gave_up(home: Settings):
    child = ended_child()
    home.stack_folder.mkdir(parents=True)
    write_state(home, StackState(child.pid, "failed", API, error="no port was free"))
    with pytest.raises(PrefectUnavailableError, match="no port was free") as caught:
        wait_for_stack(home, child, lambda _phase: None)
    assert "executor.log" in caught.value.explain()


def test_who_waits_for_a_stack_that_is_ready_is_told_at_once(home: Settings):
    lock = StackLock(home)
    lock.take()
    write_state(home, StackState(os.getpid(), "ready", API))
    told: list[str] = []
    assert wait_for_stack(home, None, told.append).api_url == API
    assert told == ["ready"]
    lock.release()


# --- a child that must not outlive its parent


def test_a_child_ends_when_its_parent_closes_the_line():
    code = (
        "import time\n"
        "from deployments.lifeline import on_parent_gone, terminate_self\n"
        "on_parent_gone(terminate_self)\n"
        "print('up', flush=True)\n"
        "time.sleep(30)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"up\n"
        child.stdin.write(b"noise is no end\n")
        child.stdin.flush()
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=20) == -15


def test_what_is_started_has_the_same_settings_with_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "HOME": str(tmp_path),
        "MEMORY_ACCOUNT_KEY": "c2VjcmV0",
        "SECRET_KEYS": '["first", "second"]',
        "TEMPLATE_FOLDERS": '["/of/ours"]',
        "OIDC_ISSUERS": '[{"issuer": "https://login.example.com", "audience": "factory"}]',
        "TOPIC_CAPS": '{"documentation": 2}',
        "API_PORT": "4000",
        "HOOKS": "false",
        "LOG_FORMAT": "json",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"FACTORY_{name}", value)
    settings = Settings()
    environment = environment_of(settings)
    for name in given:
        monkeypatch.delenv(f"FACTORY_{name}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
