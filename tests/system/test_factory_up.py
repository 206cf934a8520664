"""`factory up`: what is started in Prefect begins, and nothing of it is left behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from deployments.stack import StackState, find_stack, read_state, stop_stack
from factory_runtime.client import FactoryClient, Target, calls
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.wire.run import NewRun
from tests.deployed import run_of, start
from tests.factory import Factory, until
from tests.prefect_server import Prefect
from tests.warm_cli import nursery
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

PATIENCE = 120.0
NOW_AND_THEN = 0.3
"""Asked all the time, the server has time for nothing else."""
LINE = "name: a, type: touch, with: {{file: {file}, before: 0.2}}"


@pytest.fixture
def factory(tmp_path: Path) -> Generator[Factory]:
    factory = Factory(
        tmp_path,
        job_types=("tests.work_types",),
        max_running_runs=1,
        warm_processes=2,
        hooks=False,  # nothing is recalled here: one process alone loads the memory's model
    )
    # Its server makes its own tables, as everybody's does once.
    line = LINE.format(file=tmp_path / "lines")
    factory.template(
        "line", a_work_template("line", line) + "triggers: {schedule: {cron: '0 0 1 1 *'}}\n"
    )
    yield factory
    factory.runtime.store.close()
    stop_stack(factory.settings)


def stack(factory: Factory) -> tuple[StackState, Prefect]:
    state = read_state(factory.settings)
    assert state is not None
    return state, Prefect(state.api_url)


def below(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def workers(factory: Factory) -> list[psutil.Process]:
    state, _ = stack(factory)
    found: list[psutil.Process] = []
    for child in psutil.Process(state.pid).children():
        with suppress(psutil.Error):  # it has ended, and nobody has taken notice yet
            found += [child] if "deployments.stack_worker" in child.cmdline() else []
    return found


def begun(factory: Factory, deployment_id: str, count: int = 1) -> list[Run]:
    """Runs that are started in Prefect, as its form does, once they have ended."""
    _, prefect = stack(factory)
    answers = [start(prefect, deployment_id) for _ in range(count)]
    found: list[Run] = []
    for answer in answers:
        until(lambda answer=answer: run_of(factory, answer, "local") is not None, "it is recorded")
        run = run_of(factory, answer, "local")
        assert run is not None
        found.append(factory.wait(run))
        flow_run_id = answer.json()["id"]
        until(
            lambda one=flow_run_id: prefect.state(one)[0] == "COMPLETED",
            "Prefect hears of it",
            every=NOW_AND_THEN,
        )
    return found


def flow_runs(prefect: Prefect) -> list[str]:
    wanted = {
        "sort": "ID_DESC",
        "limit": 100,
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    return [one["id"] for one in prefect.ask("POST", "/flow_runs/filter", wanted)]


def the_deployment(prefect: Prefect) -> dict[str, Any]:
    return prefect.ask("GET", "/deployments/name/line/local")


@pytest.mark.timeout(600)  # it starts a whole stack twice
def test_what_is_started_in_prefect_begins_and_all_of_it_survives_a_restart(factory: Factory):
    up = factory.cli("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "warm worker: 2 processes" in up.stdout
    assert "deployed line/local" in up.stdout
    state, prefect = stack(factory)
    deployment = the_deployment(prefect)
    assert prefect.ask("GET", "/work_pools/factory")["type"] == "factory"

    # One at a time may run: those that wait are started by the dispatcher.
    runs = begun(factory, deployment["id"], 2)
    assert {run.status for run in runs} == {RunStatus.SUCCEEDED}

    (killed,) = workers(factory)
    killed.kill()
    until(
        lambda: workers(factory) not in ([], [killed]),
        "the worker is started again",
        every=NOW_AND_THEN,
    )
    begun(factory, deployment["id"])

    through_the_api(factory, up.stdout)

    prefect.ask("PATCH", f"/deployments/{deployment['id']}", {"description": "by a person"})
    everything = below(state.pid)
    psutil.Process(state.pid).kill()
    assert not psutil.wait_procs(everything, timeout=PATIENCE)[1], "nothing outlives a killed stack"

    with socket.create_server(("127.0.0.1", urlsplit(state.api_url).port or 0)):
        in_foreground(factory, flow_runs_before=4)


def through_the_api(factory: Factory, said: str) -> None:
    """A run is asked for, and followed to its end, past the death of the API's process."""
    (address,) = re.findall(r"Factory API: (http://127\.0\.0\.1:\d+)/api/v1", said)
    with FactoryClient(Target(address)) as client:
        run = client.send(calls.request_run(NewRun(template_recipe_id="line")))
        killed = psutil.Process(int((factory.settings.stack_folder / "api").read_text()))
        killed.kill()
        *_, last = client.stream(calls.follow_run(run.run_id))
        assert (last.kind, last.data) == ("end", {"status": "Succeeded"})


def in_foreground(factory: Factory, flow_runs_before: int) -> None:
    """Where the port of last time is somebody else's."""
    before, _ = stack(factory)
    up = subprocess.Popen(
        [nursery().factory, "up", "--foreground"],
        env=factory.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(
        lambda: (found := find_stack(factory.settings)) is not None and found.settled,
        "it is up",
        every=NOW_AND_THEN,
    )
    state, prefect = stack(factory)
    assert state.api_url != before.api_url
    deployment = the_deployment(prefect)
    assert deployment["description"] == "by a person", "what is deployed is let be"
    assert len(deployment["schedules"]) == 1
    assert len(flow_runs(prefect)) == flow_runs_before

    hanging = start(prefect, deployment["id"])
    until(lambda: run_of(factory, hanging, "local") is not None, "it has begun")
    everything = below(state.pid)
    up.send_signal(signal.SIGINT)
    said, _ = up.communicate(timeout=PATIENCE)
    assert up.returncode == 0, said
    assert "the stack is up" in said
    assert said.endswith("the stack is down\n")
    assert "Traceback" not in said
    assert not psutil.wait_procs(everything, timeout=PATIENCE)[1]
    assert len(lines_of(factory.templates.parent / "lines")) == 5, "what had begun was finished"
