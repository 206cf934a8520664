"""`factory memory forget`: erase what was learned of a run, a project or a tenant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.as_json import print_json
from cli.door import Door, open_door
from cli.options import Json
from cli.screen import is_terminal
from cli.text import one_line
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import ForgetScope


def forget(
    run: Annotated[str | None, typer.Option(metavar="ID", help="What this run taught.")] = None,
    project: Annotated[
        str | None, typer.Option(metavar="P", help="What runs and documents of it taught.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All of the tenant's: name it by --tenant.")
    ] = False,
    tenant: Annotated[
        str | None, typer.Option(help="Whose memory; FACTORY_TENANT by default.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    json: Json = False,
) -> None:
    """Erase what was learned, for good and everywhere. Runs, artifacts and the audit stay.

    Ctrl-C ends the waiting alone: what has begun goes on.
    """
    scope, key = _scope(run, project, everything=everything)
    if everything and tenant is None:
        raise InputError("name the tenant whose memory is to be erased", hint="--tenant T")
    door = open_door(tenant=tenant, json=json, confirms=everything)
    what = f"{scope.value} {key or door.desk.tenant}"
    if not (yes or _agreed(door, what)):
        return
    try:
        erased = door.desk.forget(scope, key)
        index_follows = not door.desk.index_forgotten()
    except KeyboardInterrupt:
        if not json:
            door.screen.line("what has begun goes on: the next sweep forgets the rest")
        raise
    if json:
        print_json({"erased": erased, "index_follows": index_follows})
        return
    count = "1 memory" if erased.memories == 1 else f"{erased.memories} memories"
    door.screen.line(f"forgot {count} of {one_line(what)}")
    if erased.changed:
        door.screen.line(f"{erased.changed} that others taught too tell only of those now")
    if index_follows:
        door.screen.line("the next sweep takes it out of the index as well", "dim")


def _scope(run: str | None, project: str | None, *, everything: bool) -> tuple[ForgetScope, str]:
    given = [
        (ForgetScope.RUN, run),
        (ForgetScope.PROJECT, project),
        (ForgetScope.TENANT, "" if everything else None),
    ]
    chosen = [(scope, key) for scope, key in given if key is not None]
    if len(chosen) != 1:
        raise InputError("say what is to be forgotten", hint="--run, --project or --everything")
    return chosen[0]


def _agreed(door: Door, what: str) -> bool:
    if door.json or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise InputError(
            f"what {what} taught would be erased, and nobody is here to be asked",
            hint="--yes does it",
        )
    door.screen.flush()
    return typer.confirm(f"erase all that {one_line(what)} taught, for good?")
