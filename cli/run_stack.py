"""The stack that executes one run: one that is up, or a temporary one of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from deployments.stack import StackState, find_stack, start_stack, wait_for_stack
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.settings import Settings

if TYPE_CHECKING:
    import psutil

MAX_RESTARTS = 2
FINISH_SECONDS = 40
TERMINATE_SECONDS = 5
_LOOK_EVERY = 1.0


class RunStack:
    """Sees to it that a stack is there while a run is open.

    Attributes:
        state: of the stack, once one is ready.
    """

    def __init__(self, settings: Settings, told: Callable[[str], None]) -> None:
        """``told`` is given each phase of what is being waited for."""
        self._settings = settings
        self._told = told
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._looked_at = 0.0
        self.state: StackState | None = None

    @property
    def temporary(self) -> bool:
        """Whether the stack is ours and ends with us."""
        return self._child is not None

    def ensure(self) -> None:
        """Find a stack or start one, and wait until it takes runs.

        Raises:
            PrefectUnavailableError: none comes up.
        """
        self._child = None
        if find_stack(self._settings) is None:
            self._told("starting a local stack for this run")
            self._child = start_stack(self._settings, keep=False)
        self.state = wait_for_stack(self._settings, self._child, self._tell_phase)
        if self._child is not None and self._child.poll() is not None:
            self._child = None  # somebody else was quicker: theirs is ready
        self._told("")

    def _tell_phase(self, phase: str) -> None:
        if phase != "ready":
            self._told(phase)

    def gone(self) -> bool:
        """Whether the stack ended while it was needed."""
        if self._child is not None:
            return self._child.poll() is not None
        # Looking takes the stack's lock for a moment, so not at every turn.
        if time.monotonic() - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = time.monotonic()
        return find_stack(self._settings) is None

    def revive(self) -> None:
        """Start one more: an executor takes up the runs it finds.

        Raises:
            PrefectUnavailableError: it has died too often, or does not come up again.
        """
        if self._restarts == MAX_RESTARTS:
            raise PrefectUnavailableError(
                f"the local stack died {MAX_RESTARTS + 1} times in the middle of the run",
                hint=f"see {self._settings.stack_folder / 'executor.log'}",
            )
        self._restarts += 1
        self._told("the local stack ended; starting it once more")
        self.ensure()

    def finish(self) -> None:
        """Let a temporary stack finish what it has begun and end; kill it if it does not."""
        child = self._child
        if child is None or child.stdin is None:
            return
        child.stdin.close()
        try:
            child.wait(timeout=FINISH_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.kill()

    def kill(self) -> None:
        """End a temporary stack and every process below it. Repeating it is harmless."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:  # else its id may be somebody else's by now
            below = _processes_below(child)
            _end_group(child)
            _kill_left(below)
        if child.stdin is not None:
            child.stdin.close()


def _end_group(child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _processes_below(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Its descendants, those in process groups of their own too."""
    import psutil

    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill_left(processes: list[psutil.Process]) -> None:
    import psutil

    _, left = psutil.wait_procs(processes, timeout=1)
    for process in left:
        with suppress(psutil.Error):
            process.kill()  # it checks that the id is still this process's
    psutil.wait_procs(left, timeout=1)
