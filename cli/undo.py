"""`factory runs undo`: have what ended runs did outside taken back."""

from __future__ import annotations

import json as json_library
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.as_json import print_json, to_json, without
from cli.door import Door, open_door
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.options import Json, RunIds, Tenant
from cli.screen import status_style
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.run import Run

Watch = Annotated[
    bool, typer.Option("--watch", help="Then follow each undo, as `runs watch` does.")
]


@dataclass(frozen=True)
class Asked:
    """What came of asking for one undo.

    Attributes:
        undoing: the run that does it; None where it is made in a minute.
    """

    run_id: str
    undoing: Run | None = None
    error: FactoryError | None = None


def undo(run_ids: RunIds, watch: Watch = False, tenant: Tenant = None, json: Json = False) -> int:
    """Take back what ended runs did outside, by a run of its own for each; its steps say how.

    What is no longer as the run left it stays: `factory effects list --orphaned`.
    """
    door = open_door(tenant=tenant, json=json)
    asked = [_ask(door, run_id) for run_id in dict.fromkeys(run_ids)]
    if json:
        _print_json(asked, as_lines=watch)
    else:
        for one in asked:
            _print(door, one)
    sys.stdout.flush()
    code = DONE
    for one in asked:
        if one.error is not None:
            report(one.error, as_json=json)
            code = max(code, exit_code_of(one.error))
    return max(code, _follow(door, asked)) if watch else code


def _ask(door: Door, run_id: str) -> Asked:
    try:
        return Asked(run_id, door.desk.undo(run_id))
    except FactoryError as error:
        return Asked(run_id, error=error)


def _follow(door: Door, asked: list[Asked]) -> int:
    from cli.follow import follow_run

    followed = (one.undoing.id for one in asked if one.undoing is not None)
    return max((follow_run(door, run_id) for run_id in followed), default=DONE)


def _print(door: Door, one: Asked) -> None:
    if one.undoing is not None:
        line = f"{one.run_id}  is undone by {one.undoing.id}  {one.undoing.status}"
        door.screen.line(line, status_style(one.undoing.status))
    elif one.error is None:
        door.screen.line(f"{one.run_id}  is undone soon: a job of it may still be at work outside")


def _print_json(asked: list[Asked], *, as_lines: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "run_id": one.run_id,
            "undone_by": without(one.undoing, "inputs", "outputs", "plan") if one.undoing else None,
            "error": facts_of(one.error) if one.error else None,
        }
        for one in asked
    ]
    if as_lines:  # events follow, a line each
        for row in rows:
            print(json_library.dumps(to_json(row), ensure_ascii=False))
    else:
        print_json({"runs": rows})
