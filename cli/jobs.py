"""`factory jobs`: one step of one run, from near."""

from __future__ import annotations

import json as json_library
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from cli.as_json import print_json, to_json
from cli.changes import Asked, InputsFile, Set, TemplateVersion, Timeout
from cli.door import Door, open_door
from cli.options import AnyStep, Json, RunId, Step, Tenant
from cli.telling import Watch, tell_and_watch
from factory_runtime.domain.errors import JobNotFoundError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run

app = typer.Typer(help="One job of a run: show, read and retry it.", no_args_is_help=True)

_PAGE = 1000
_CLOSE = 3


@app.command()
def show(
    run_id: RunId,
    step: Step,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="The last error in full, for its author.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show how a job stands and why, its attempts, its checkpoint and what it did outside."""
    from cli.job_page import job_as_json, read_job, show_job

    door = open_door(tenant=tenant, json=json)
    find_job(door, run_id, step)
    facts = read_job(door, run_id, step)
    if json:
        print_json(job_as_json(facts))
    else:
        show_job(door, facts, traceback=traceback)


@app.command()
def logs(
    run_id: RunId,
    step: AnyStep = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job, or the run, has ended.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Print what jobs logged, and how they moved. With --follow and --json, a line an event."""
    door = open_door(tenant=tenant, json=json)
    if step is not None:
        find_job(door, run_id, step)
    pages = _pages(door, run_id, step, follow=follow)
    if json and not follow:
        print_json({"events": to_json([event for page in pages for event in page])})
        return
    _print(door, run_id, pages)


@app.command()
def retry(
    run_id: RunId,
    step: Step,
    set_: Set = None,
    inputs: InputsFile = None,
    timeout: Timeout = None,
    template_version: TemplateVersion = None,
    watch: Watch = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Send a failed run round again for this job, and all behind it that did not succeed."""
    door = open_door(tenant=tenant, json=json)
    asked = Asked(set_, inputs, timeout, template_version)

    def act(run_id: str) -> Run:
        find_job(door, run_id, step)
        return door.desk.retry_job(run_id, step, asked.of_run(door, run_id))

    return tell_and_watch(door, [run_id], act, watch=watch)


def find_job(door: Door, run_id: str, step: str) -> Job:
    """The job.

    Raises:
        RunNotFoundError: no such run.
        JobNotFoundError: no such job in it; the hint names those with a name like it.
    """
    with door.desk.reading() as tx:
        run = tx.get_run(run_id)
        jobs = {job.step: job for job in tx.list_jobs(run_id)}
    if step in jobs:
        return jobs[step]
    import difflib

    # Who asks for a step that was done once for each item means one of these.
    likely = [name for name in jobs if name.startswith(f"{step}[")][:_CLOSE]
    likely = likely or difflib.get_close_matches(step, jobs, n=_CLOSE)
    hint = f"did you mean {' or '.join(map(repr, likely))}?" if likely else None
    raise JobNotFoundError(
        f"no job {step} in run {run.id}",
        hint=hint or f"`factory runs show {run.id}` shows the jobs there are",
    )


def _pages(
    door: Door, run_id: str, step: str | None, *, follow: bool
) -> Iterator[tuple[RunEvent, ...]]:
    """Events of jobs, in order, a page at a time; following, until nothing can come any more."""
    after, ended = 0, False
    while True:
        with door.desk.reading() as tx:
            # Read before the events: what ended it stands among them.
            ended = tx.get_run(run_id).ended or (
                step is not None and tx.get_job(run_id, step).ended
            )
            page = tx.list_events(run_id, after=after, limit=_PAGE)
        if page:
            after = page[-1].sequence
            yield tuple(e for e in page if e.step is not None and step in (None, e.step))
        elif ended or not follow:
            return
        else:
            time.sleep(door.desk.poll_seconds)


def _print(door: Door, run_id: str, pages: Iterator[tuple[RunEvent, ...]]) -> None:
    from cli.progress import event_line

    with door.desk.reading() as tx:
        width = max((len(job.step) for job in tx.list_jobs(run_id)), default=0)
    for page in pages:
        for event in page:
            if door.json:
                print(json_library.dumps(to_json(event), ensure_ascii=False), flush=True)
            else:
                door.screen.line(event_line(event, width))
        door.screen.flush()
