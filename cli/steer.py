"""`factory runs cancel`, `pause`, `resume` and `retry`: tell runs what to do."""

from __future__ import annotations

import json as json_library
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import typer

from cli.as_json import print_json, to_json, without
from cli.bulk import Preview, Yes, cancel_chosen, check_named_or_chosen, retry_chosen
from cli.changes import Asked, InputsFile, Set, TemplateVersion, Timeout
from cli.door import Door, open_door, person
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.options import AnyRunIds, Json, RunIds, Tenant, duration_option
from cli.screen import status_style
from cli.where import Choice, NotSinceSucceeded, Where
from factory_runtime.domain.errors import (
    FactoryError,
    IllegalTransitionError,
    InputError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus

Act = Callable[[Door, str], Run]
"""One use case on one run, by its id."""

Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is so.")]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="DURATION", help="The most that --wait waits; 60s by default."),
]
Watch = Annotated[bool, typer.Option("--watch", help="Then follow each, as `runs watch` does.")]

_PATIENCE = timedelta(seconds=60)
_POLL = 0.1


class NotYetError(TransientError):
    """A run did not get where it was asked to go in the time that was given."""


@dataclass(frozen=True)
class Told:
    """What came of telling one run: it as it then stands, or an error."""

    run_id: str  # or another id that names it, where it could not be told
    run: Run | None = None
    error: FactoryError | None = None

    @property
    def code(self) -> int:
        return DONE if self.error is None else exit_code_of(self.error)


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
    if not choice.is_made:
        act = partial(_cancel, undo=undo)
        return _tell_and_wait(door, run_ids or (), act, _is_cancelled, limit)
    act_on = partial(_cancel, door, undo=undo)
    return cancel_chosen(door, choice, act_on, preview=preview, yes=yes)


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
    return _tell_and_wait(door, run_ids, _pause, _is_paused, limit)


def resume(run_ids: RunIds, watch: Watch = False, tenant: Tenant = None, json: Json = False) -> int:
    """Let paused runs go on: they queue for a slot like any other."""
    return tell_and_watch(open_door(tenant=tenant, json=json), run_ids, _resume, watch=watch)


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
    asked = Asked(set_, inputs, timeout, template_version)
    if not choice.is_made:
        act = partial(_retry, asked=asked)
        return tell_and_watch(door, run_ids or (), act, watch=watch)
    return retry_chosen(door, choice, partial(_retry, door, asked=asked), preview=preview, yes=yes)


# --- what each does


def _cancel(door: Door, run_id: str, *, undo: bool) -> Run:
    from factory_runtime.services.end_run import cancel_run

    runtime = door.runtime
    return cancel_run(runtime.store, runtime.clock, door.tenant, run_id, person(), undo=undo)


def _pause(door: Door, run_id: str) -> Run:
    from factory_runtime.services.pause_run import pause_run

    return pause_run(door.runtime.store, door.runtime.clock, door.tenant, run_id, person())


def _resume(door: Door, run_id: str) -> Run:
    from factory_runtime.services.pause_run import resume_run

    return resume_run(door.runtime.store, door.runtime.clock, door.tenant, run_id, person())


def _retry(door: Door, run_id: str, *, asked: Asked) -> Run:
    from factory_runtime.services.retry_run import retry_run

    runtime = door.runtime
    return retry_run(
        runtime.store,
        runtime.clock,
        door.tenant,
        run_id,
        person(),
        change=asked.of_run(door, run_id),
        desk=runtime.desk,
    )


# --- one after the other


def tell_and_watch(door: Door, run_ids: Iterable[str], act: Act, *, watch: bool) -> int:
    """Have each done and told of; then follow those it was done to; the worst exit code."""
    told = _tell(door, run_ids, act)
    if not watch:
        return _conclude(door, told)
    from cli.follow import follow_run

    code = _conclude(door, told, as_lines=True)
    for one in told:
        if one.run is not None:
            sys.stdout.flush()
            code = max(code, follow_run(door, one.run.id))
    return code


def _tell_and_wait(
    door: Door,
    run_ids: Iterable[str],
    act: Act,
    reached: Callable[[Run], bool],
    limit: timedelta | None,
) -> int:
    told = _tell(door, run_ids, act)
    if limit is not None:
        until = time.monotonic() + limit.total_seconds()
        told = [_wait(door, one, reached, until, limit) for one in told]
    return _conclude(door, told)


def _tell(door: Door, run_ids: Iterable[str], act: Act) -> list[Told]:
    """Each in its own transaction: one that cannot be told does not keep the others."""
    return [_tell_one(door, run_id, act) for run_id in dict.fromkeys(run_ids)]


def _tell_one(door: Door, run_id: str, act: Act) -> Told:
    try:
        return Told(run_id, act(door, run_id))
    except FactoryError as error:
        return Told(run_id, error=error)


def _wait(
    door: Door, told: Told, reached: Callable[[Run], bool], until: float, limit: timedelta
) -> Told:
    run = told.run
    if run is None:
        return told
    while not reached(run):
        wanted = RunStatus.PAUSED if reached is _is_paused else RunStatus.CANCELLED
        if run.ended:
            return Told(run.id, error=IllegalTransitionError(f"run {run.id}", run.status, wanted))
        if time.monotonic() >= until:
            return Told(run.id, error=_not_yet(run, wanted, limit))
        time.sleep(_POLL)
        with door.reading() as tx:
            run = tx.get_run(run.id)
    return Told(run.id, run)


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


# --- what came of it


def _conclude(door: Door, told: Sequence[Told], *, as_lines: bool = False) -> int:
    """Tell of all, the errors on standard error as well; the worst exit code."""
    if door.json:
        _print_json(door, told, as_lines=as_lines)
    else:
        _print(door, told)
    sys.stdout.flush()
    for one in told:
        if one.error is not None:
            report(one.error, as_json=door.json)
    return max(one.code for one in told)


def _print(door: Door, told: Sequence[Told]) -> None:
    from cli.standing import NOBODY, standing

    unmoved = False
    for one in told:
        if one.run is not None:
            words = standing(door, one.run)
            cycle = f", cycle {one.run.cycle}" if one.run.cycle else ""
            told_of = f"  {words}" if words else ""
            line = f"{one.run.id}  {one.run.status}{cycle}{told_of}"
            door.screen.line(line, status_style(one.run.status))
            unmoved = unmoved or _waits_for_executor(one.run)
    if unmoved and not _is_executed(door):
        door.screen.line(NOBODY)


def _print_json(door: Door, told: Sequence[Told], *, as_lines: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "run_id": one.run.id if one.run else one.run_id,
            "run": without(one.run, "inputs", "outputs", "plan") if one.run else None,
            "error": facts_of(one.error) if one.error else None,
        }
        for one in told
    ]
    if as_lines:  # events follow, a line each
        for row in rows:
            print(json_library.dumps(to_json(row), ensure_ascii=False))
    else:
        print_json({"runs": rows, "executed": _is_executed(door)})


def _waits_for_executor(run: Run) -> bool:
    from cli.standing import is_held

    return not (run.ended or run.status is RunStatus.PAUSED or is_held(run))


def _is_executed(door: Door) -> bool:
    from cli.standing import is_executed

    return is_executed(door)
