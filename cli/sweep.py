"""`factory sweep`: repair what killed processes left, and do what commits left to be done."""

from __future__ import annotations

import json as json_library
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.as_json import print_json, to_json
from cli.at_prefect import at_prefect, find_api_url
from cli.door import StoreDoor, open_stores
from cli.errors import DONE, report
from cli.options import Json, duration_option
from cli.text import one_line
from factory_runtime.domain.errors import PrefectUnavailableError, TransientError

Shown = Mapping[str, Callable[[Any], None]]

_TELL_WITHIN = timedelta(seconds=20)
"""A target that hangs is left by its notifier before that."""


@dataclass(frozen=True)
class Tidied:
    """What one sweep did, over all tenants.

    Attributes:
        cancelled: runs past their deadline, or asked to stop, that nobody was there to cancel.
        left: runs whose worker is gone: they wait for a slot again.
        jobs: jobs taken back from workers whose lease has run out.
        stopped: runs asked to stop because their flow run was cancelled in Prefect.
        done: outbox messages handled; ``failed`` are tried again later.
        bodies: of artifacts that have expired, deleted.
        prefect: ``up``, ``down``, or why it could not be asked.
    """

    cancelled: int
    left: int
    jobs: int
    stopped: int
    done: int
    failed: int
    bodies: int
    prefect: str


def sweep(
    loop: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Sweep again so often, like 30s, until Ctrl-C."),
    ] = None,
    json: Json = False,
) -> int:
    """Look once over all open runs, of every tenant, and bring on what was left lying."""
    pause = duration_option(loop, "--loop")
    door = open_stores(json=json)
    if pause is None:
        tidied = tidy(door)
        if json:
            print_json(tidied)
        else:
            _tell(door, tidied)
        return DONE
    try:
        while True:
            _once_of_many(door)
            time.sleep(pause.total_seconds())
    except KeyboardInterrupt:
        return DONE  # that is how it is meant to end


def tidy(door: StoreDoor) -> Tidied:
    """Sweep once. Any number of these may be at it at once.

    Raises:
        StoreUnavailableError: the store does not answer; what was repaired stays so.
    """
    from factory_runtime.orchestration.kept_blocks import without_server
    from factory_runtime.services.index_memory import A_WHILE
    from factory_runtime.services.sweep import sweep as sweep_store

    runtime = door.runtime
    swept = sweep_store(runtime.store, runtime.clock)
    stopped, prefect, api_url = 0, "down", find_api_url(door)
    with without_server() if api_url is None else at_prefect(door, api_url):
        shown: Shown = {}
        if api_url is not None:
            stopped, shown, prefect = _ask_prefect(door)
        did = [runtime.drain(shown), runtime.learn(A_WHILE)]
        runtime.look_for_stuck()
        runtime.seal_audit()
        bodies = runtime.artifact_sweeper.sweep_if_due().deleted
        did += [runtime.tell(patience=_TELL_WITHIN), runtime.learn_code()]
        runtime.migrator.build_a_while()
        runtime.write_prose()
    done, failed = sum(one.done for one in did), sum(one.failed for one in did)
    return Tidied(swept.cancelled, swept.left, swept.jobs, stopped, done, failed, bodies, prefect)


def _ask_prefect(door: StoreDoor) -> tuple[int, Shown, str]:
    """Runs stopped in Prefect, its part of the outbox, and how it is."""
    from factory_runtime.orchestration.shown import shown_by_prefect
    from factory_runtime.services.sweep import sweep_prefect

    runtime = door.runtime
    try:
        stopped = sweep_prefect(runtime.store, runtime.clock, runtime.launcher)
    except PrefectUnavailableError as error:
        return 0, {}, one_line(str(error))
    return stopped, shown_by_prefect(runtime.store, runtime.clock), "up"


def _once_of_many(door: StoreDoor) -> None:
    """Tell only of what there was to do; what is away now may be back the next time."""
    try:
        tidied = tidy(door)
    except TransientError as error:
        report(error, as_json=door.json)
        return
    if door.json:
        print(json_library.dumps(to_json(tidied), ensure_ascii=False), flush=True)
    elif _words(tidied):
        _tell(door, tidied)
        sys.stdout.flush()


def _tell(door: StoreDoor, tidied: Tidied) -> None:
    words = _words(tidied)
    door.screen.line("; ".join(words) if words else "nothing was left lying")
    if tidied.prefect not in ("up", "down"):
        door.screen.line(f"Prefect was not asked: {tidied.prefect}", "warn")


def _words(tidied: Tidied) -> list[str]:
    told = (
        (tidied.cancelled, "cancelled {} run{}"),
        (tidied.left, "freed {} run{} of a worker that is gone"),
        (tidied.jobs, "took back {} job{}"),
        (tidied.stopped, "asked {} run{} to stop, as in Prefect"),
        (tidied.done, "handled {} message{}"),
        (tidied.failed, "left {} message{} that failed for later"),
        (tidied.bodies, "deleted the bytes of {} expired artifact{}"),
    )
    return [text.format(count, "" if count == 1 else "s") for count, text in told if count]
