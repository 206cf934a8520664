"""See a run through: a stack to execute it, progress, Ctrl-C, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from cli.door import StoreDoor
from cli.errors import DONE, RUN_FAILED
from cli.interrupts import Interrupts
from cli.person import person
from cli.progress import Progress, open_progress
from cli.run_stack import RunStack
from cli.screen import is_terminal
from cli.similar import SimilarRuns
from cli.standing import Standing
from cli.watching import POLL, Watcher
from cli.what_came import show_what_came
from factory_runtime.domain.errors import IllegalTransitionError, PrefectUnavailableError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import end_run

CANCEL_SECONDS = 6.0


def execute(door: StoreDoor, run: Run) -> int:
    """Have an accepted run executed, and tell of it until it has ended; the exit code.

    Raises:
        PrefectUnavailableError: nothing could execute it; the run is Failed then.
    """
    if not door.json:
        door.screen.line(f"{run.id}  {run.template_id} {run.template_version}", "dim")
        sys.stdout.flush()
    progress = open_progress(as_json=door.json)
    stack = RunStack(door.settings, progress.phase)
    similar = SimilarRuns.of_run(door, run)
    similar.start()
    try:
        with progress:
            ended = follow_to_the_end(door, run, stack, progress)
        ui_url = stack.state.ui_url if stack.state is not None else None
        show_what_came(door, ended, similar, ui_url, stands=not stack.temporary)
        with _waiting(door, "remembering what was learned", wanted=stack.temporary):
            stack.finish()
    except BaseException:
        stack.kill()  # Ctrl-C while the summary is written, a reader that went away
        raise
    return DONE if ended.status is RunStatus.SUCCEEDED else RUN_FAILED


def follow_to_the_end(door: StoreDoor, run: Run, stack: RunStack, progress: Progress) -> Run:
    """Keep a stack there and show the run until it has ended; Ctrl-C cancels it.

    Raises:
        PrefectUnavailableError: no stack lived long enough; the run is Failed.
    """
    watcher = door.desk.watch(run.id)
    progress.show(watcher, ())
    try:
        if not watcher.run.ended:
            stack.ensure()
        return _watch(door, watcher, progress, stack)
    except KeyboardInterrupt:
        return _cancel(door, watcher, progress, stack)
    except PrefectUnavailableError as error:
        stack.kill()
        ended = _end(door, run, RunStatus.FAILED, error.explain())
        if ended.status is not RunStatus.FAILED:
            return ended
        error.run_id = run.id
        raise


def _watch(door: StoreDoor, watcher: Watcher, progress: Progress, stack: RunStack) -> Run:
    standing = Standing(door)
    with Interrupts() as interrupts:
        while not _look(watcher, progress).ended:
            if told := standing.look(watcher.run, watcher.jobs):
                progress.phase(told)
            # Looked at once more: a stack may end because it is done.
            if stack.gone() and not _look(watcher, progress).ended:
                stack.revive()
                progress.phase("taking the run up again, once the leases of the dead have run out")
            time.sleep(POLL)
            interrupts.check()
    return watcher.run


def _look(watcher: Watcher, progress: Progress) -> Run:
    events = watcher.look()
    if events:
        progress.phase("")
    progress.show(watcher, events)
    return watcher.run


def _cancel(door: StoreDoor, watcher: Watcher, progress: Progress, stack: RunStack) -> Run:
    """Ask the run to stop; where that takes too long, stop what executes it."""
    run_id = watcher.run.id
    progress.phase("cancelling (Ctrl-C once more stops it at once)")
    try:
        with suppress(IllegalTransitionError):
            door.desk.cancel(run_id)
        until = time.monotonic() + CANCEL_SECONDS
        while not watcher.run.ended and time.monotonic() < until:
            progress.show(watcher, watcher.look())
            time.sleep(POLL)
    except KeyboardInterrupt:
        progress.phase("stopping")
    if not watcher.run.ended and stack.temporary:
        stack.kill()
        _end(door, watcher.run, RunStatus.CANCELLED, f"cancelled by {person()}")
    return _look(watcher, progress)


def _end(door: StoreDoor, run: Run, status: RunStatus, reason: str) -> Run:
    """End the run, or give how it ended by itself."""
    runtime = door.runtime
    try:
        return end_run(runtime.store, runtime.clock, door.tenant, run.id, status, reason)
    except IllegalTransitionError:
        with door.desk.reading() as tx:
            return tx.get_run(run.id)


@contextmanager
def _waiting(door: StoreDoor, text: str, *, wanted: bool) -> Generator[None]:
    """Say what is waited for, while it is."""
    if not wanted or door.json:
        yield
    elif is_terminal(sys.stdout):
        with spinner() as say:
            say(text)
            yield
    else:
        door.screen.line(f"{text} …")
        sys.stdout.flush()
        yield


@contextmanager
def spinner() -> Generator[Callable[[str], None]]:
    """A spinner on the terminal, and how to change what it says."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    with console.status("", spinner_style="cyan") as status:
        yield lambda text: status.update(f"{text} …") if text else None
