"""`factory runs`: what happened."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.as_json import print_json, to_json, without
from cli.door import open_door
from cli.jobs import find_job
from cli.options import Json, RunId, Tenant
from cli.text import duration, first_line, local_time
from cli.where import Choice, NotSinceSucceeded, Where
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run

app = typer.Typer(
    help="Runs: what happened in them, and what they are to do.", no_args_is_help=True
)

_MANY = 1000
_PAGE = 1000


@app.command("list")
def list_runs(
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    template: Annotated[str | None, typer.Option(help="Only runs of this template.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only runs in this status; repeat it for more.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs asked for since, like 30d.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs asked for before.")
    ] = None,
    where: Where = None,
    not_since_succeeded: NotSinceSucceeded = False,
    limit: Annotated[int, typer.Option(min=1, max=_MANY, help="How many to show.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    from cli.standing import short_standings
    from factory_runtime.ports import RunFilter

    door = open_door(tenant=tenant, json=json)
    words = [f"status={name}" for name in status or ()]
    words += [f"project={project}"] if project is not None else []
    words += [f"template={template}"] if template is not None else []
    choice = Choice([*words, *(where or ())], since, until, not_since_succeeded)
    chosen = choice.filter(door.desk.now())
    page, reasons = door.desk.list_runs(chosen, limit=limit, cursor=cursor)
    waits = short_standings(door, reasons)
    if json:
        runs = [
            {**without(run, "inputs", "outputs", "plan"), "waits_for": waits.get(run.id)}
            for run in page.items
        ]
        print_json({"runs": runs, "cursor": page.cursor})
        return
    if not page.items:
        door.screen.line("no runs" if chosen == RunFilter() else "no runs like that")
        return
    door.screen.table(
        ("run", "status", "template", "project", "requested", "took", "waits for", "error"),
        [_row(run, waits.get(run.id, "")) for run in page.items],
        flexible=("project", "waits for", "error"),
    )
    if page.cursor is not None:
        door.screen.line(f"more: --cursor {page.cursor}", "dim")


@app.command()
def show(run_id: RunId, tenant: Tenant = None, json: Json = False) -> None:
    """Show all there is to know about a run."""
    from cli.run_facts import facts_as_json, flow_run_url, read_run
    from cli.run_page import show_run
    from cli.run_report import find_report, report_as_json
    from cli.standing import reasons_as_json, reasons_of, run_words

    door = open_door(tenant=tenant, json=json)
    facts = read_run(door, run_id)
    report = find_report(door, facts)
    ui_url = door.desk.ui_url()
    reasons = reasons_of(door, facts.run, facts.jobs)
    if json:
        words = run_words(reasons, door.desk.now())
        url = flow_run_url(facts.run, ui_url)
        more = {
            "standing": words or None,
            "reasons": reasons_as_json(reasons),
            "report": report_as_json(door, report),
        }
        print_json({**facts_as_json(facts, url), **more})
    else:
        show_run(door, facts, ui_url, reasons, report)


@app.command()
def watch(run_id: RunId, tenant: Tenant = None, json: Json = False) -> int:
    """Follow a run until it ends; Ctrl-C ends the watching alone.

    With --json, one line an event; of kind ``progress`` is what jobs say on the way.
    """
    from cli.follow import follow_run

    return follow_run(open_door(tenant=tenant, json=json), run_id)


@app.command()
def logs(
    run_id: RunId,
    step: Annotated[str | None, typer.Option(help="Only this job's lines.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Print a run's events and what its jobs logged."""
    from cli.progress import event_line

    door = open_door(tenant=tenant, json=json)
    events: list[RunEvent] = []
    if step is not None:
        find_job(door, run_id, step)
    with door.desk.reading() as tx:
        tx.get_run(run_id)
        after = 0
        while page := tx.list_events(run_id, after=after, limit=_PAGE):
            events += [event for event in page if step is None or event.step == step]
            after = page[-1].sequence
    if json:
        print_json({"events": to_json(events)})
        return
    width = max((len(event.step or "run") for event in events), default=0)
    for event in events:
        door.screen.line(event_line(event, width))


def _row(run: Run, waits_for: str) -> tuple[str, ...]:
    took = ""
    if run.started_at is not None and run.completed_at is not None:
        took = duration(run.completed_at - run.started_at)
    template = f"{run.template_id} {run.template_version}".strip()
    if run.undoes is not None:
        template = f"undo of {run.undoes}"
    requested = local_time(run.requested_at)
    error = first_line(run.error or "")
    return (run.id, run.status, template, run.project_id, requested, took, waits_for, error)
