"""`factory runs cancel`, `pause`, `resume` and `retry`: tell runs what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer

from cli.bulk import Preview, Yes, cancel_chosen, check_named_or_chosen, retry_chosen
from cli.changes import Asked, InputsFile, Set, TemplateVersion, Timeout
from cli.door import Door, open_door
from cli.options import AnyRunIds, Json, RunIds, Tenant, duration_option
from cli.telling import Act, Answer, Watch, conclude, tell, tell_and_watch
from cli.where import Choice, NotSinceSucceeded, Where
from factory_runtime.domain.errors import (
    IllegalTransitionError,
    InputError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus

Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is so.")]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="DURATION", help="The most that --wait waits; 60s by default."),
]
_PATIENCE = timedelta(seconds=60)


class NotYetError(TransientError):
    """A run did not get where it was asked to go in the time that was given."""


def cancel(
    run_ids: AnyRunIds = None,
    where: Where = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Choose runs asked for since, like 2h.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Choose runs asked for before.")
    ] = None,
    preview: Preview = False,
    yes: Yes = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Then take back what they did, as `runs undo` does.")
    ] = False,
    wait: Wait = False,
    wait_for: For = None,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Stop runs for good; what they made stays, but for --undo. Unexecuted ones end at once.

    Name them, or choose them: `--where status=Queued --where project=shop --preview`.
    """
    limit = _limit(wait, wait_for)
    choice = Choice(where, since, until)
    alone = {"--wait": wait}
    check_named_or_chosen(run_ids, choice, alone, {"--preview": preview, "--yes": yes})
    door = open_door(tenant=tenant, json=json)
    act = partial(door.desk.cancel, undo=undo)
    if not choice.is_made:
        return _tell_and_wait(door, run_ids or (), act, _is_cancelled, limit)
    return cancel_chosen(door, choice, act, preview=preview, yes=yes)


def pause(
    run_ids: RunIds,
    wait: Wait = False,
    wait_for: For = None,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Put runs aside until somebody resumes them; jobs under way finish first."""
    limit = _limit(wait, wait_for)
    door = open_door(tenant=tenant, json=json)
    return _tell_and_wait(door, run_ids, door.desk.pause, _is_paused, limit)


def resume(run_ids: RunIds, watch: Watch = False, tenant: Tenant = None, json: Json = False) -> int:
    """Let paused runs go on: they queue for a slot like any other."""
    door = open_door(tenant=tenant, json=json)
    return tell_and_watch(door, run_ids, door.desk.resume, watch=watch)


def retry(
    run_ids: AnyRunIds = None,
    where: Where = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Choose runs that failed since, like 2h.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Choose runs that failed before.")
    ] = None,
    not_since_succeeded: NotSinceSucceeded = False,
    preview: Preview = False,
    yes: Yes = False,
    set_: Set = None,
    inputs: InputsFile = None,
    timeout: Timeout = None,
    template_version: TemplateVersion = None,
    watch: Watch = False,
    tenant: Tenant = None,
    json: Json = False,
) -> int:
    """Send failed runs round again, from what failed in them; what succeeded stays.

    Name them, or choose them: `--since 2h --not-since-succeeded --preview`.
    """
    choice = Choice(where, since, until, not_since_succeeded, ended=True)
    alone = {"--watch": watch}
    check_named_or_chosen(run_ids, choice, alone, {"--preview": preview, "--yes": yes})
    door = open_door(tenant=tenant, json=json)
    act = partial(_retry, door, Asked(set_, inputs, timeout, template_version))
    if not choice.is_made:
        return tell_and_watch(door, run_ids or (), act, watch=watch)
    return retry_chosen(door, choice, act, preview=preview, yes=yes)


def _retry(door: Door, asked: Asked, run_id: str) -> Run:
    return door.desk.retry(run_id, asked.of_run(door, run_id))


# --- one after the other


def _tell_and_wait(
    door: Door,
    run_ids: Iterable[str],
    act: Act,
    reached: Callable[[Run], bool],
    limit: timedelta | None,
) -> int:
    told = tell(run_ids, act)
    if limit is not None:
        until = time.monotonic() + limit.total_seconds()
        told = [_wait(door, one, reached, until, limit) for one in told]
    return conclude(door, told)


def _wait(
    door: Door, told: Answer, reached: Callable[[Run], bool], until: float, limit: timedelta
) -> Answer:
    run = told.run
    if run is None:
        return told
    while not reached(run):
        wanted = RunStatus.PAUSED if reached is _is_paused else RunStatus.CANCELLED
        if run.ended:
            return Answer(run.id, error=IllegalTransitionError(f"run {run.id}", run.status, wanted))
        if time.monotonic() >= until:
            return Answer(run.id, error=_not_yet(run, wanted, limit))
        time.sleep(door.desk.poll_seconds)
        with door.desk.reading() as tx:
            run = tx.get_run(run.id)
    return Answer(run.id, run)


def _not_yet(run: Run, wanted: RunStatus, limit: timedelta) -> NotYetError:
    from cli.text import duration

    return NotYetError(
        f"run {run.id} is {run.status} and not {wanted} after {duration(limit)}",
        hint="it was asked to; where what executed it is gone, `factory sweep` helps",
    )


def _is_cancelled(run: Run) -> bool:
    return run.status is RunStatus.CANCELLED


def _is_paused(run: Run) -> bool:
    from cli.standing import is_held

    return run.status is RunStatus.PAUSED or is_held(run)


def _limit(wait: bool, wait_for: str | None) -> timedelta | None:
    length = duration_option(wait_for, "--for")
    if length is not None and not wait:
        raise InputError("--for says how long --wait waits", hint="add --wait")
    return (length or _PATIENCE) if wait else None
