"""`factory up` and `factory down`: the local stack in one command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from cli.as_json import print_json
from cli.door import Door, open_door
from cli.options import Json
from cli.screen import is_terminal


def up(json: Json = False) -> None:
    """Keep a Prefect server and a warm executing process in the background."""
    from deployments.stack import find_stack, start_stack, wait_for_stack, wait_until_gone

    door = open_door(json=json)
    found = find_stack(door.settings)
    already = found is not None and found.ready
    with _telling(door) as told:
        if found is not None and not found.keep:
            told("waiting for a run's own stack to end")
            wait_until_gone(door.settings)
            found, already = None, False
        child = None if found is not None else start_stack(door.settings, keep=True)
        state = wait_for_stack(door.settings, child, told)
    if json:
        print_json({"already_up": already, "pid": state.pid, "ui_url": state.ui_url})
        return
    door.screen.line("the stack is up already" if already else "the stack is up")
    door.screen.facts([("Prefect UI", state.ui_url), ("process", str(state.pid))])


def down(json: Json = False) -> None:
    """Stop what `factory up` started; runs that have begun are finished first."""
    from deployments.stack import stop_stack

    door = open_door(json=json)
    with _telling(door) as told:
        told("stopping the stack")
        stopped = stop_stack(door.settings)
    if json:
        print_json({"stopped": stopped})
    else:
        door.screen.line("the stack is down" if stopped else "no stack was up")


@contextmanager
def _telling(door: Door) -> Generator[Callable[[str], None]]:
    """How to say what is waited for: a spinner, lines, or silence."""
    if door.json:
        yield lambda _: None
    elif is_terminal(sys.stdout):
        from cli.execute import spinner

        with spinner() as say:
            yield say
    else:
        said: set[str] = set()

        def say_once(text: str) -> None:
            if text not in said and text != "ready":
                said.add(text)
                door.screen.line(f"{text} …")
                sys.stdout.flush()

        yield say_once
