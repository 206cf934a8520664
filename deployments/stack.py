"""The local stack, as seen from outside: is it up, start it, stop it.

It is one background process, the executor (``deployments.executor``), which keeps one Prefect
server as its child. Who holds the lock file is the stack; ``stack.json`` beside it says the rest.
Nothing here imports Prefect: the CLI uses it on every run.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from factory_runtime.bootstrap import make_home
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.settings import Settings

START_LIMIT = timedelta(seconds=120)
STOP_LIMIT = timedelta(seconds=40)
_POLL = 0.05
_TRIES = 10
_GONE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class StackState:
    """What ``stack.json`` says.

    Attributes:
        phase: what it is doing, for people; ``ready`` when it takes runs.
        api_url: of the Prefect server, ending in ``/api``.
        keep: whether it stays until `factory down`; otherwise it ends with the run it serves.
        error: why it gave up, or None.
    """

    pid: int
    phase: str
    api_url: str
    keep: bool = False
    error: str | None = None

    @property
    def ready(self) -> bool:
        return self.phase == "ready"

    @property
    def ui_url(self) -> str:
        return self.api_url.removesuffix("/api")


class StackLock:
    """The lock that makes a process the stack; the kernel frees it, however the process ends."""

    def __init__(self, settings: Settings) -> None:
        make_home(settings)
        settings.stack_folder.mkdir(exist_ok=True)
        self._path = settings.stack_folder / "lock"
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Whether this process is the stack now. Somebody's look at the lock is waited out."""
        for _ in range(_TRIES):
            if self._try(fcntl.LOCK_EX):
                return True
            time.sleep(_POLL)
        return False

    def held_by_another(self) -> bool:
        """Whether some other process is the stack."""
        if not self._try(fcntl.LOCK_SH):  # shared, so that two who look do not see each other
            return True
        self.release()
        return False

    def _try(self, kind: int) -> bool:
        self._file = self._path.open("ab")  # closed on exec, so that no child keeps it
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            return False
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()


def write_state(settings: Settings, state: StackState) -> None:
    """Replace ``stack.json`` in one step."""
    place = _state_path(settings)
    fresh = place.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(state)))
    fresh.replace(place)


def read_state(settings: Settings) -> StackState | None:
    """What ``stack.json`` says, whether or not it is still true."""
    try:
        return StackState(**json.loads(_state_path(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def find_stack(settings: Settings) -> StackState | None:
    """The stack that is up or coming up, or None."""
    if not settings.stack_folder.is_dir() or not StackLock(settings).held_by_another():
        return None
    return read_state(settings)


def start_stack(settings: Settings, *, keep: bool) -> subprocess.Popen[bytes]:
    """Start the stack's process.

    Args:
        settings: where; they reach the child as environment.
        keep: it stays when the caller ends (`factory up`). Otherwise it finishes what it has begun
            and ends when the caller closes the child's standard input, or dies.
    """
    make_home(settings)
    settings.stack_folder.mkdir(exist_ok=True)
    log = (settings.stack_folder / "executor.log").open("ab")
    with log:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "deployments.executor", *(["--keep"] if keep else [])],
            stdin=subprocess.DEVNULL if keep else subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(settings),
            start_new_session=True,  # Ctrl-C in the terminal is the caller's to handle
        )


def wait_for_stack(
    settings: Settings, child: subprocess.Popen[bytes] | None, told: Callable[[str], None]
) -> StackState:
    """Wait until a stack is ready, telling each phase.

    Raises:
        PrefectUnavailableError: it gave up, or took longer than two minutes.
    """
    until = time.monotonic() + START_LIMIT.total_seconds()
    seen = time.monotonic()
    while time.monotonic() < until:
        state = read_state(settings)
        if child is not None and state is not None and state.pid == child.pid and state.error:
            raise PrefectUnavailableError(state.error, hint=f"see {_log_path(settings)}")
        if state is not None and state.error is None and find_stack(settings) is not None:
            seen = time.monotonic()
            told(state.phase)
            if state.ready:
                return state
        ended = child is None or child.poll() is not None
        if ended and time.monotonic() - seen > _GONE_SECONDS:
            break
        time.sleep(_POLL)
    raise PrefectUnavailableError(
        "the local stack did not start", hint=f"see {_log_path(settings)}"
    )


def stop_stack(settings: Settings) -> bool:
    """Stop the stack that `factory up` left; False where there is none.

    Raises:
        PrefectUnavailableError: it does not end.
    """
    state = find_stack(settings)
    if state is None:
        return False
    # The lock is held, so the process that wrote the file lives and the id is its own.
    os.kill(state.pid, signal.SIGTERM)
    wait_until_gone(settings)
    return True


def wait_until_gone(settings: Settings) -> None:
    """Wait until no process is the stack.

    Raises:
        PrefectUnavailableError: it takes longer than 40 s.
    """
    until = time.monotonic() + STOP_LIMIT.total_seconds()
    while find_stack(settings) is not None:
        if time.monotonic() > until:
            raise PrefectUnavailableError(
                "the local stack is still up", hint=f"see {_log_path(settings)}"
            )
        time.sleep(_POLL)


def _environment(settings: Settings) -> dict[str, str]:
    own = {
        f"FACTORY_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.model_dump(mode="json", exclude_unset=True).items()
        if value is not None
    }
    return {**os.environ, **own, "FACTORY_HOME": str(settings.root)}


def _state_path(settings: Settings) -> Path:
    return settings.stack_folder / "stack.json"


def _log_path(settings: Settings) -> Path:
    return settings.stack_folder / "executor.log"
