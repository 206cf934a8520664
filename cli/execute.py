"""See a run through: a stack to execute it, progress, Ctrl-C, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from cli.as_json import print_json
from cli.door import Door, person
from cli.errors import DONE, RUN_FAILED
from cli.memory import made_by, recalled_as_json
from cli.progress import Progress, open_progress
from cli.run_facts import facts_as_json, flow_run_url, read_run, show_failures, show_made
from cli.run_stack import RunStack
from cli.screen import is_terminal, status_style
from cli.similar import Similar, SimilarRuns
from cli.standing import Standing
from cli.text import one_line
from cli.watching import POLL, Watcher
from factory_runtime.domain.errors import IllegalTransitionError, PrefectUnavailableError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run, end_run

CANCEL_SECONDS = 6.0


def execute(door: Door, run: Run) -> int:
    """Have an accepted run executed, and tell of it until it has ended; the exit code.

    Raises:
        PrefectUnavailableError: nothing could execute it; the run is Failed then.
    """
    if not door.json:
        door.screen.line(f"{run.id}  {run.template_id} {run.template_version}", "dim")
        sys.stdout.flush()
    progress = open_progress(as_json=door.json)
    stack = RunStack(door.settings, progress.phase)
    similar = SimilarRuns(door, run)
    similar.start()
    try:
        with progress:
            ended = follow_to_the_end(door, run, stack, progress)
        _conclude(door, ended, stack, similar)
        with _waiting(door, "remembering what was learned", wanted=stack.temporary):
            stack.finish()
    except BaseException:
        stack.kill()  # Ctrl-C while the summary is written, a reader that went away
        raise
    return DONE if ended.status is RunStatus.SUCCEEDED else RUN_FAILED


def follow_to_the_end(door: Door, run: Run, stack: RunStack, progress: Progress) -> Run:
    """Keep a stack there and show the run until it has ended; Ctrl-C cancels it.

    Raises:
        PrefectUnavailableError: no stack lived long enough; the run is Failed.
    """
    watcher = Watcher(door.runtime.store, door.tenant, run.id)
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


def _watch(door: Door, watcher: Watcher, progress: Progress, stack: RunStack) -> Run:
    standing = Standing(door)
    while not _look(watcher, progress).ended:
        if told := standing.look(watcher.run, watcher.jobs):
            progress.phase(told)
        # Looked at once more: a stack may end because it is done.
        if stack.gone() and not _look(watcher, progress).ended:
            stack.revive()
            progress.phase("taking the run up again, once the leases of the dead have run out")
        time.sleep(POLL)
    return watcher.run


def _look(watcher: Watcher, progress: Progress) -> Run:
    events = watcher.look()
    if events:
        progress.phase("")
    progress.show(watcher, events)
    return watcher.run


def _cancel(door: Door, watcher: Watcher, progress: Progress, stack: RunStack) -> Run:
    """Ask the run to stop; where that takes too long, stop what executes it."""
    run_id = watcher.run.id
    progress.phase("cancelling (Ctrl-C once more stops it at once)")
    try:
        with suppress(IllegalTransitionError):
            cancel_run(door.runtime.store, door.runtime.clock, door.tenant, run_id, person())
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


def _end(door: Door, run: Run, status: RunStatus, reason: str) -> Run:
    """End the run, or give how it ended by itself."""
    runtime = door.runtime
    try:
        return end_run(runtime.store, runtime.clock, door.tenant, run.id, status, reason)
    except IllegalTransitionError:
        with door.reading() as tx:
            return tx.get_run(run.id)


# --- what came of it


def _conclude(door: Door, run: Run, stack: RunStack, similar: SimilarRuns) -> None:
    facts = read_run(door, run.id)
    ui_url = stack.state.ui_url if stack.state is not None else None
    url = flow_run_url(facts.run, ui_url)
    recalled = similar.wait() if run.ended else Similar()
    if door.json:
        document = facts_as_json(facts, url)
        document["similar_runs"] = [recalled_as_json(one) for one in recalled.found]
        document["similar_runs_error"] = recalled.trouble
        print_json(document)
        sys.stdout.flush()
        return
    screen = door.screen
    screen.line()
    took = f" in {facts.took}" if facts.took else ""
    screen.line(f"{_spoken(facts.run)}{took}", status_style(facts.run.status))
    show_failures(door, facts)
    show_made(door, facts)
    if url is not None:
        screen.heading("Prefect")
        screen.line(url)
        if stack.temporary:
            screen.line("`factory up` keeps the Prefect server up; `factory runs show` finds it")
    _show_similar(door, recalled)
    sys.stdout.flush()


def _spoken(run: Run) -> str:
    if run.ended:
        return f"{run.id} {run.status}"
    return f"{run.id} was asked to stop; `factory runs watch {run.id}` shows when it has"


def _show_similar(door: Door, recalled: Similar) -> None:
    if recalled.trouble is not None:
        door.screen.line()
        door.screen.line(f"no similar runs: {one_line(recalled.trouble)}", "dim")
    elif recalled.found:
        door.screen.heading("Similar past runs")
        rows = [
            (
                f"{one.score:.2f}",
                one.memory.run_id or "",
                one.memory.outcome or "",
                made_by(one.memory),
                one_line(one.memory.title),
            )
            for one in recalled.found
        ]
        door.screen.table(("alike", "run", "outcome", "made", "what"), rows, flexible=("what",))


@contextmanager
def _waiting(door: Door, text: str, *, wanted: bool) -> Generator[None]:
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
