"""The local stack, as seen from outside: is it up, start it, stop it.

It is one background process, the executor (``deployments.executor``), which keeps one Prefect
server as its child and, for `factory up`, one warm worker. Who holds the lock file is the stack;
``stack.json`` beside it says the rest.
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
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from factory_runtime.bootstrap.ground import make_home
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.settings import Settings

START_LIMIT = timedelta(seconds=120)
STOP_LIMIT = timedelta(seconds=60)
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
        offers: what it offers in Prefect beside, and what of that it cannot, in lines for people.
        settled: whether it offers all that it will; ``ready`` comes before.
    """

    pid: int
    phase: str
    api_url: str
    keep: bool = False
    error: str | None = None
    offers: tuple[str, ...] = ()
    settled: bool = False

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
        said = StackState(**json.loads(_state_path(settings).read_text()))
        return replace(said, offers=tuple(said.offers))
    except (OSError, ValueError, TypeError):
        return None


def find_stack(settings: Settings) -> StackState | None:
    """The stack that is up or coming up, or None."""
    if not settings.stack_folder.is_dir() or not StackLock(settings).held_by_another():
        return None
    return read_state(settings)


def start_stack(settings: Settings, *, keep: bool, follow: bool = False) -> subprocess.Popen[bytes]:
    """Start the stack's process.

    Args:
        settings: where; they reach the child as environment.
        keep: it serves all runs, with a warm worker beside (`factory up`), and stays when the
            caller ends. Otherwise it is for one run.
        follow: though it is kept, it ends with the caller. As one that is not kept, it finishes
            what it has begun, and ends when the caller closes its standard input, or dies.
    """
    words = [*(["--keep"] if keep else []), *(["--follow"] if follow or not keep else [])]
    make_home(settings)
    settings.stack_folder.mkdir(exist_ok=True)
    log = (settings.stack_folder / "executor.log").open("ab")
    with log:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "deployments.executor", *words],
            stdin=subprocess.PIPE if "--follow" in words else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment_of(settings),
            start_new_session=True,  # Ctrl-C in the terminal is the caller's to handle
        )


def wait_for_stack(
    settings: Settings,
    child: subprocess.Popen[bytes] | None,
    told: Callable[[str], None],
    *,
    settled: bool = False,
) -> StackState:
    """Wait until a stack is ready, telling each phase.

    With ``settled`` also until it offers all that it will, but no longer than two minutes: then it
    is ready all the same.

    Raises:
        PrefectUnavailableError: it gave up, or took longer than two minutes.
    """
    until = time.monotonic() + START_LIMIT.total_seconds()
    seen = time.monotonic()
    while time.monotonic() < until:
        state = _state_beside(settings, child)
        if child is not None and state is not None and state.pid == child.pid and state.error:
            raise PrefectUnavailableError(state.error, hint=f"see {_log_path(settings)}")
        if state is not None and state.error is None and find_stack(settings) is not None:
            seen = time.monotonic()
            told(state.phase)
            late = time.monotonic() > until - _GONE_SECONDS
            if state.ready and (state.settled or late or not settled):
                return state
            if state.ready:
                told("starting the warm worker")
        ended = child is None or child.poll() is not None
        if ended and time.monotonic() - seen > _GONE_SECONDS:
            break
        time.sleep(_POLL)
    raise PrefectUnavailableError(
        "the local stack did not start", hint=f"see {_log_path(settings)}"
    )


def _state_beside(settings: Settings, child: subprocess.Popen[bytes] | None) -> StackState | None:
    """What the stack says; while a child of ours comes up, not what the last one left."""
    state = read_state(settings)
    if child is None or state is None or child.poll() is not None:  # ended: somebody was quicker
        return state
    return state if state.pid == child.pid else None


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
        PrefectUnavailableError: it takes longer than a minute.
    """
    until = time.monotonic() + STOP_LIMIT.total_seconds()
    while find_stack(settings) is not None:
        if time.monotonic() > until:
            raise PrefectUnavailableError(
                "the local stack is still up", hint=f"see {_log_path(settings)}"
            )
        time.sleep(_POLL)


def environment_of(settings: Settings) -> dict[str, str]:
    """What a process is started with to have the same settings, secrets among them."""
    own = {
        f"FACTORY_{name.upper()}": _spelled(value)
        for name, value in settings.model_dump(exclude_unset=True).items()
        if value is not None
    }
    return {**os.environ, **own, "FACTORY_HOME": str(settings.root)}


def _spelled(value: object) -> str:
    plain = _plain(value) if isinstance(value, SecretStr | Path) else value
    return plain if isinstance(plain, str) else json.dumps(plain, default=_plain)


def _plain(value: object) -> str:
    # Pydantic would write a secret as stars.
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _state_path(settings: Settings) -> Path:
    return settings.stack_folder / "stack.json"


def _log_path(settings: Settings) -> Path:
    return settings.stack_folder / "executor.log"
