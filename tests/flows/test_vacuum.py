"""Prefect's database is kept small; no run of ours needs what is deleted there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta

import httpx
import pytest

from deployments.kept import PrefectServer
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.approvals import decide
from factory_runtime.services.topics import SHOW_STATUS
from tests.factory import Factory, until
from tests.prefect_server import Prefect, flow_run_id
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

LONG_AGO = timedelta(days=31)
LATELY = timedelta(days=29)

VACUUM = """
import asyncio
import gc
import sys
gc.disable()  # looking over what is imported takes long
from prefect.server.database import provide_database_interface
from prefect.server.services.db_vacuum import vacuum_old_flow_runs
from prefect.settings import get_current_settings

assert "flow_runs" in get_current_settings().server.services.db_vacuum.enabled_vacuum_types
for _ in sys.stdin:
    asyncio.run(vacuum_old_flow_runs(db=provide_database_interface()))
    print("done", flush=True)
"""


def grow_old(factory: Factory, runs: Sequence[Run], by: timedelta) -> None:
    """Have the flow runs lie back by so much, with all that they did."""
    times = ("start_time", "end_time", "expected_start_time", "state_timestamp", "created")
    moved = [f"{name} = datetime({name}, '-{by.days} days')" for name in times]
    for run in runs:
        change(factory, run, ", ".join(moved))


def is_told_again(factory: Factory, run: Run) -> bool:
    """Whether Prefect is still to be told how the run stands."""
    store, far = factory.runtime.store, factory.runtime.clock.now() + LONG_AGO
    told = store.due_messages(far, 1000, topics={SHOW_STATUS})
    return any(message.key.startswith(run.id) for message in told)


def seem_crashed(factory: Factory, run: Run) -> None:
    """What no rule of Prefect's or ours would leave there, while the run waits."""
    change(factory, run, "state_type = 'CRASHED', end_time = datetime('now')")


def change(factory: Factory, run: Run, values: str) -> None:
    database = sqlite3.connect(factory.settings.prefect_folder / "prefect.db", timeout=60)
    with closing(database), database:
        order = f"UPDATE flow_run SET {values} WHERE id = ?"  # noqa: S608 - ours
        assert database.execute(order, [flow_run_id(run)]).rowcount == 1


@contextmanager
def vacuuming(factory: Factory) -> Generator[Callable[[], None]]:
    """What does what the server does every hour, with what that is told."""
    done = subprocess.Popen(
        [sys.executable, "-c", VACUUM],
        env=PrefectServer(factory.settings).environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def vacuum() -> None:
        assert done.stdin is not None
        assert done.stdout is not None
        done.stdin.write("again\n")
        done.stdin.flush()
        assert done.stdout.readline() == "done\n", "it says why on standard error"

    with done:
        yield vacuum
    assert done.returncode == 0


def is_there(prefect: Prefect, run: Run) -> bool:
    path = f"{prefect.api_url}/flow_runs/{flow_run_id(run)}"
    return httpx.get(path, timeout=30).status_code != 404


def grant(factory: Factory, run: Run) -> None:
    runtime = factory.runtime
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=run.id)
    decide(runtime.store, runtime.clock, run.tenant_id, approval.id, "grace", (), True, "")


@pytest.mark.soak
def test_what_ended_long_ago_is_deleted_and_a_run_that_waits_goes_on(
    factory: Factory, prefect: Prefect
):
    gate = "name: gate, type: approval, with: {message: May it?, by: [grace, linus]}"
    file = factory.templates.parent / "behind"
    behind = f"name: behind, type: touch, needs: [gate], with: {{file: {file}}}"
    factory.template("kept-small", a_work_template("kept-small", gate, behind))
    runs = [factory.request("kept-small", f"kept-{number}") for number in range(3)]
    ended, patient, crashed = (factory.wait(run, RunStatus.WAITING) for run in runs)
    for run in (patient, crashed):
        until(lambda run=run: prefect.state(flow_run_id(run))[1] == "Waiting", "it waits")
    grant(factory, ended)
    ended = factory.wait(ended)
    until(lambda: prefect.state(flow_run_id(ended))[0] == "COMPLETED", "Prefect hears of it")
    until(lambda: not is_told_again(factory, crashed), "nobody corrects it any more")
    seem_crashed(factory, crashed)

    with vacuuming(factory) as vacuum:
        grow_old(factory, (ended, patient, crashed), LATELY)
        vacuum()
        assert all(is_there(prefect, run) for run in (ended, patient, crashed))
        grow_old(factory, (ended, patient, crashed), LONG_AGO - LATELY)
        vacuum()
    there = [is_there(prefect, run) for run in (ended, patient, crashed)]
    assert there == [False, True, False], "one that waits has not ended, however old it is"

    assert factory.run(ended).status is RunStatus.SUCCEEDED, "ours is the record"
    for run in (patient, crashed):
        grant(factory, run)
        done = factory.wait(run, RunStatus.SUCCEEDED)
        assert done.status is RunStatus.SUCCEEDED, done.error
        until(lambda done=done: prefect.state(flow_run_id(done))[0] == "COMPLETED", "it is shown")
        assert f"{run.id}:behind" in lines_of(file)
    assert factory.run(patient).flow_run_id == patient.flow_run_id
    assert factory.run(crashed).flow_run_id != crashed.flow_run_id, "it was given another one"
