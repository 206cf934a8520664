"""See a run through that a Factory API has taken on: watched here, executed there."""

from __future__ import annotations

import sys

from cli.door import Door
from cli.errors import DONE, RUN_FAILED
from cli.follow import watch_until_ended
from cli.progress import open_progress
from cli.similar import SimilarRuns
from cli.what_came import show_what_came
from factory_runtime.domain.run import Run, RunStatus


def see_through(door: Door, run: Run) -> int:
    """Tell of a run until it has ended; the exit code.

    Ctrl-C ends the watching alone. Where `factory run` executes a run itself, it stops it: there
    its executor would go with it. This one has been taken on by others, and goes on.

    Raises:
        FactoryError: the API is away for too long; the run goes on.
    """
    if not door.json:
        door.screen.line(f"{run.id}  {run.template_id} {run.template_version}", "dim")
        sys.stdout.flush()
    similar = SimilarRuns.of_run(door, run)
    similar.start()
    watcher = door.desk.watch(run.id)
    try:
        with open_progress(as_json=door.json) as progress:
            ended = watch_until_ended(door, watcher, progress)
    except KeyboardInterrupt:
        if not door.json:
            door.screen.line(f"no longer watched: {run.id} goes on")
            door.screen.line(f"`factory runs watch {run.id}` follows it, `runs cancel` stops it")
        raise
    show_what_came(door, ended, similar, door.desk.ui_url(), stands=True)
    return DONE if ended.status is RunStatus.SUCCEEDED else RUN_FAILED
