"""Do one thing to all runs that are chosen: shown first, asked about, then told of each."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.as_json import print_json
from cli.door import Door
from cli.errors import DONE, exit_code_of, facts_of
from cli.screen import is_terminal, status_style
from cli.text import first_line, local_time
from cli.where import Choice
from factory_runtime.domain.errors import IllegalTransitionError, InputError
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus

if TYPE_CHECKING:
    from factory_runtime.ports import RunFilter
    from factory_runtime.services.bulk import RunResult, UseCase

Preview = Annotated[
    bool, typer.Option("--preview", help="Show which runs are chosen; change nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before runs that are chosen.")]

_SHOWN = 10


@dataclass(frozen=True)
class Deed:
    """What is done to runs.

    Attributes:
        verb, done: like ``cancel`` and ``cancelled``.
    """

    verb: str
    done: str
    act: UseCase


@dataclass
class _Tally:
    """What came of it so far; a row for each run, a few words long."""

    count: int
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    done: int = 0
    moved: int = 0
    code: int = DONE

    @property
    def refused(self) -> int:
        return len(self.rows) - self.done - self.moved

    def add(self, told: RunResult) -> None:
        status = told.run.status.value if told.run is not None else None
        error = facts_of(told.error) if told.error is not None else None
        self.rows.append({"run_id": told.run_id, "status": status, "error": error})
        if told.error is None:
            self.done += 1
        elif isinstance(told.error, IllegalTransitionError):
            self.moved += 1  # it ended, or somebody else did the same, since it was chosen
        else:
            self.code = max(self.code, exit_code_of(told.error))


def check_named_or_chosen(
    run_ids: Sequence[str] | None,
    choice: Choice,
    alone: Mapping[str, bool],
    together: Mapping[str, bool],
) -> None:
    """Refuse a command line that does not say which runs, or says it in two ways.

    Args:
        run_ids: as they were named.
        choice: as it was made.
        alone: options, and whether they were given, that are for named runs.
        together: likewise, for those that are chosen.

    Raises:
        InputError: it does.
    """
    if bool(run_ids) == choice.is_made:
        what = "runs are named and chosen" if run_ids else "no runs are named or chosen"
        raise InputError(what, hint="give each RUN_ID, or --where and what else chooses")
    wrong = next(
        (name for name, given in (alone if choice.is_made else together).items() if given), None
    )
    if wrong is not None:
        kind = "named" if choice.is_made else "chosen with --where"
        raise InputError(f"{wrong} is for runs that are {kind}", hint=f"leave out {wrong}")


def cancel_chosen(door: Door, choice: Choice, act: UseCase, *, preview: bool, yes: bool) -> int:
    """Cancel the runs that are chosen, among those that have not ended."""
    where = choice.filter(door.desk.now())
    if wrong := RUN_ENDED.intersection(where.statuses):
        raise InputError(f"a run that is {min(wrong)} cannot be cancelled", hint="choose open ones")
    if not where.statuses:
        where = replace(where, statuses=tuple(s for s in RunStatus if s not in RUN_ENDED))
    return _do_in_bulk(door, where, Deed("cancel", "cancelled", act), preview=preview, yes=yes)


def retry_chosen(door: Door, choice: Choice, act: UseCase, *, preview: bool, yes: bool) -> int:
    """Send the runs round again that are chosen, among those that can be."""
    where = choice.filter(door.desk.now())
    if wrong := set(where.statuses) - {RunStatus.FAILED}:
        raise InputError(
            f"a run that is {min(wrong)} cannot be retried", hint="only Failed ones can"
        )
    where = replace(where, can_be_retried=True)
    return _do_in_bulk(door, where, Deed("retry", "retried", act), preview=preview, yes=yes)


def _do_in_bulk(door: Door, where: RunFilter, deed: Deed, *, preview: bool, yes: bool) -> int:
    """Show the runs that pass, ask, and have it done to each; the worst exit code.

    A run that moved meanwhile is told of and is no error. Ctrl-C stops between two runs, or leaves
    the one under way as it was or done; the same command does what is left.

    Raises:
        InputError: nobody can be asked, and ``--yes`` is not there.
    """
    with door.desk.reading() as tx:
        tally = _Tally(tx.count_runs(where))
    if preview:
        _show_chosen(door, where, deed, tally.count)
        return DONE
    if tally.count and not yes and not _asked(door, where, deed, tally.count):
        door.screen.line("nothing was done")
        return DONE
    return _do(door, where, deed, tally)


def _do(door: Door, where: RunFilter, deed: Deed, tally: _Tally) -> int:
    from factory_runtime.services.bulk import choose, do_to_all

    ended = False
    try:
        for told in do_to_all(choose(door.desk.reading, where), deed.act):
            tally.add(told)
            _tell(door, told)
        ended = True
    finally:  # Ctrl-C, or the store went away: what was done is told all the same
        _conclude(door, deed, tally, stopped=not ended)
    return tally.code


def _asked(door: Door, where: RunFilter, deed: Deed, count: int) -> bool:
    show = partial(_show_chosen, door, where, deed, count)
    return is_agreed(door, deed.verb, deed.done, _runs(count), show)


def is_agreed(door: Door, verb: str, done: str, what: str, show: Callable[[], None]) -> bool:
    """Show what it is about and ask whether it is to be done.

    Args:
        door: the command's.
        verb: like ``cancel``.
        done: like ``cancelled``.
        what: how many of what, like ``3 runs``.
        show: shows the first of them.

    Raises:
        InputError: nobody is there to be asked.
    """
    if door.json or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise InputError(
            f"{what} would be {done}, and nobody is here to be asked",
            hint="--preview shows them, --yes does it",
        )
    show()
    door.screen.flush()
    return typer.confirm(f"{verb} {what}?")


def _show_chosen(door: Door, where: RunFilter, deed: Deed, count: int) -> None:
    from factory_runtime.services.bulk import choose

    chosen = choose(door.desk.reading, where)
    if door.json:
        ids = [run.id for run in chosen]
        print_json({"preview": True, "count": len(ids), "run_ids": ids})
        return
    if not count:
        door.screen.line("no runs like that")
        return
    rows = [_row(run) for run in itertools.islice(chosen, _SHOWN)]
    door.screen.line(f"{_runs(count)} to {deed.verb}:")
    headers = ("run", "status", "template", "project", "requested", "ended", "error")
    door.screen.table(headers, rows, flexible=("project", "error"))
    if count > len(rows):
        door.screen.line(f"… and {count - len(rows)} more", "dim")


def _row(run: Run) -> tuple[str, ...]:
    template = f"{run.template_id} {run.template_version}".strip()
    times = (local_time(run.requested_at), local_time(run.completed_at))
    return (run.id, run.status, template, run.project_id, *times, first_line(run.error or ""))


def _tell(door: Door, told: RunResult) -> None:
    if door.json:
        return
    if told.run is not None:
        cycle = f", cycle {told.run.cycle}" if told.run.cycle else ""
        line = f"{told.run_id}  {told.run.status}{cycle}"
        door.screen.line(line, status_style(told.run.status))
    else:
        door.screen.line(f"{told.run_id}  left as it is: {told.error}", "warn")
    door.screen.flush()


def _conclude(door: Door, deed: Deed, tally: _Tally, *, stopped: bool) -> None:
    if door.json:
        print_json(
            {
                "count": tally.count,
                "done": tally.done,
                "moved_meanwhile": tally.moved,
                "refused": tally.refused,
                "stopped": stopped,
                "runs": tally.rows,
            }
        )
        return
    if not tally.count and not tally.rows:
        door.screen.line("no runs like that")
        return
    parts = [f"{tally.done} of {_runs(tally.count)} {deed.done}"]
    parts += [f"{tally.moved} moved meanwhile"] if tally.moved else []
    parts += [f"{tally.refused} refused"] if tally.refused else []
    door.screen.line(", ".join(parts))
    if stopped:
        door.screen.line("stopped on the way: the same command does what is left", "warn")
    door.screen.flush()


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"
