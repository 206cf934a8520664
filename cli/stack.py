"""`factory up` and `factory down`: the local stack in one command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.as_json import print_json
from cli.door import StoreDoor, open_stores
from cli.options import Json
from cli.screen import is_terminal

if TYPE_CHECKING:
    from deployments.stack import StackState
    from factory_runtime.domain.errors import FactoryError

Foreground = Annotated[
    bool, typer.Option("--foreground", help="Stay, tell what happens, and end it with Ctrl-C.")
]

_LOOK_EVERY = 0.2


def up(foreground: Foreground = False, json: Json = False) -> None:
    """Keep a Prefect server, what executes runs, and a warm worker for those begun in Prefect."""
    from deployments.stack import find_stack, start_stack, wait_for_stack, wait_until_gone

    door = open_stores(json=json)
    found = find_stack(door.settings)
    already = found is not None and found.ready
    child = None
    try:
        with _telling(door) as told:
            if found is not None and not found.keep:
                told("waiting for a run's own stack to end")
                wait_until_gone(door.settings)
                found, already = None, False
            if found is not None and foreground:
                raise _stands(found)
            if found is None:
                child = start_stack(door.settings, keep=True, follow=foreground)
            state = wait_for_stack(door.settings, child, told, settled=True)
        _say(door, state, already=already)
        if foreground and child is not None:
            _follow(door, child, state)
    except KeyboardInterrupt:
        if not foreground or child is None:
            raise
        _end(door, child)


def down(json: Json = False) -> None:
    """Stop what `factory up` started; runs that have begun are finished, or put down, first."""
    from deployments.stack import stop_stack

    door = open_stores(json=json)
    with _telling(door) as told:
        told("stopping the stack")
        stopped = stop_stack(door.settings)
    if json:
        print_json({"stopped": stopped})
    else:
        door.screen.line("the stack is down" if stopped else "no stack was up")


def _stands(found: StackState) -> FactoryError:
    from factory_runtime.domain.errors import ConflictError

    return ConflictError(
        f"the stack is up already, in process {found.pid}",
        hint="end it with `factory down`, and type this again",
    )


def _say(door: StoreDoor, state: StackState, *, already: bool) -> None:
    if door.json:
        said = {"already_up": already, "pid": state.pid, "ui_url": state.ui_url}
        print_json({**said, "offers": state.offers})
        sys.stdout.flush()
        return
    door.screen.line("the stack is up already" if already else "the stack is up")
    door.screen.facts([("Prefect UI", state.ui_url), ("process", str(state.pid))])
    _say_lines(door, state.offers)


def _say_lines(door: StoreDoor, lines: tuple[str, ...]) -> None:
    for line in lines:
        door.screen.line(line)
    sys.stdout.flush()


def _follow(door: StoreDoor, child: subprocess.Popen[bytes], state: StackState) -> None:
    """Tell what it says anew, until it ends.

    Raises:
        PrefectUnavailableError: it gave up.
    """
    from deployments.stack import read_state
    from factory_runtime.domain.errors import PrefectUnavailableError

    while child.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_EVERY)
        now = read_state(door.settings) or state
        if not door.json:
            _say_lines(door, tuple(line for line in now.offers if line not in state.offers))
        state = now
    if child.returncode:
        raise PrefectUnavailableError(state.error or f"the stack ended with {child.returncode}")


def _end(door: StoreDoor, child: subprocess.Popen[bytes]) -> None:
    """End a stack in the foreground: runs first; a second Ctrl-C waits for nothing."""
    with _telling(door) as told:
        told("stopping the stack")
        child.terminate()
        try:
            child.wait()
        except KeyboardInterrupt:
            child.kill()
            child.wait()
    if not door.json:
        door.screen.line("the stack is down")


@contextmanager
def _telling(door: StoreDoor) -> Generator[Callable[[str], None]]:
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
