"""Tell several runs one after the other what to do, and tell what came of each."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.as_json import print_json, to_json, without
from cli.door import Door
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.screen import status_style
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.run import Run, RunStatus

Act = Callable[[str], Run]
"""One use case on one run, by its id."""

Watch = Annotated[bool, typer.Option("--watch", help="Then follow each, as `runs watch` does.")]


@dataclass(frozen=True)
class Answer:
    """What came of telling one run: it as it then stands, or an error."""

    run_id: str  # or another id that names it, where it could not be told
    run: Run | None = None
    error: FactoryError | None = None

    @property
    def code(self) -> int:
        return DONE if self.error is None else exit_code_of(self.error)


def tell_and_watch(door: Door, run_ids: Iterable[str], act: Act, *, watch: bool) -> int:
    """Have each done and told of; then follow those it was done to; the worst exit code."""
    told = tell(run_ids, act)
    if not watch:
        return conclude(door, told)
    from cli.follow import follow_run

    code = conclude(door, told, as_lines=True)
    for one in told:
        if one.run is not None:
            sys.stdout.flush()
            code = max(code, follow_run(door, one.run.id))
    return code


def tell(run_ids: Iterable[str], act: Act) -> list[Answer]:
    """Have it done to each, and what came of it.

    Each in its own transaction: one that cannot be told does not keep the others.
    """
    return [_tell_one(run_id, act) for run_id in dict.fromkeys(run_ids)]


def _tell_one(run_id: str, act: Act) -> Answer:
    try:
        return Answer(run_id, act(run_id))
    except FactoryError as error:
        return Answer(run_id, error=error)


def conclude(door: Door, told: Sequence[Answer], *, as_lines: bool = False) -> int:
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


def _print(door: Door, told: Sequence[Answer]) -> None:
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
    if unmoved and not door.desk.is_executed():
        door.screen.line(NOBODY)


def _print_json(door: Door, told: Sequence[Answer], *, as_lines: bool) -> None:
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
        print_json({"runs": rows, "executed": door.desk.is_executed()})


def _waits_for_executor(run: Run) -> bool:
    from cli.standing import is_held

    return not (run.ended or run.status is RunStatus.PAUSED or is_held(run))
