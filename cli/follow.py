"""Follow runs as they happen, until they end or the reader has seen enough."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from cli.as_json import to_json
from cli.door import Door
from cli.errors import DONE, RUN_FAILED
from cli.progress import Progress, open_progress
from cli.standing import Standing
from cli.watching import POLL, Watcher
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run, RunStatus


def follow_run(door: Door, run_id: str) -> int:
    """Tell of a run until it ends, however long it waits or is paused; the exit code.

    With JSON, one line an event. Ctrl-C ends the watching alone: the run goes on.

    Raises:
        RunNotFoundError: no such run.
    """
    watcher = door.desk.watch(run_id)
    try:
        with open_progress(as_json=door.json) as progress:
            run = watch_until_ended(door, watcher, progress, _print_json if door.json else None)
    except KeyboardInterrupt:
        if not door.json and not watcher.run.ended:
            door.screen.line(f"no longer watched: {run_id} stays {watcher.run.status}")
        raise
    if not door.json:
        door.screen.line(f"{run.id} {run.status}")
        if run.error:
            door.screen.line(run.error, "bad")
    return DONE if run.status is RunStatus.SUCCEEDED else RUN_FAILED


def watch_until_ended(
    door: Door,
    watcher: Watcher,
    progress: Progress,
    tell: Callable[[Sequence[RunEvent]], None] | None = None,
) -> Run:
    """Show progress until the run has ended, and tell each event besides."""
    standing = Standing(door)
    while True:
        events = watcher.look()
        progress.show(watcher, events)
        if tell is not None:
            tell(events)
        if watcher.ended:
            return watcher.run
        if not door.json:
            told = standing.look(watcher.run, watcher.jobs)
            if told is not None:
                progress.phase(_spoken(watcher, told))
        time.sleep(POLL)


def _print_json(events: Sequence[RunEvent]) -> None:
    for event in events:
        print(json.dumps(to_json(event), ensure_ascii=False), flush=True)


def _spoken(watcher: Watcher, told: str) -> str:
    """What is waited for; the status alone where there are no lines of jobs to show how it is."""
    status = watcher.run.status
    return f"{status}: {told}" if told else "" if watcher.lines else status
