"""`factory sweep` and what `factory doctor` says of what it would find."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import Breaker
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.topics import SIGNALS
from tests.cli_home import Factory, accept_run, begin_run, get_jobs, get_run, typed, typing

NOTHING = dict.fromkeys(("cancelled", "left", "jobs", "stopped", "failed", "bodies"), 0)
QUIET = {**NOTHING, "prefect": "down"}


def gone_worker() -> str:
    """The name of a process that was here."""
    from factory_runtime.telemetry import worker_name

    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    host = worker_name().rpartition(":")[0]
    return f"{host}:{child.pid}"


@pytest.fixture
def left(runtime: Runtime) -> Run:
    """Under way when its process was killed."""
    run = accept_run(runtime)
    begin_run(runtime, run, gone_worker())
    return get_run(runtime, run)


def looks(factory: Factory) -> dict[str, dict[str, str]]:
    checks = factory("doctor", "--json").json["checks"]
    return {check["name"]: check for check in checks}


def test_a_sweep_frees_the_run_of_a_killed_process(factory: Factory, left: Run) -> None:
    said = factory("sweep", "--json")
    assert said.code == 0
    assert said.json["left"] == 1
    assert get_run(factory.runtime, left).admitted_at is None
    assert get_jobs(factory.runtime, left)["generate-repo"].status is JobStatus.PENDING


def test_a_sweep_cancels_what_nobody_is_there_to_cancel(factory: Factory, left: Run) -> None:
    runtime = factory.runtime
    cancel_run(runtime.store, runtime.clock, "local", left.id, "ada")
    out = factory("sweep").out
    assert "cancelled 1 run" in out
    assert get_run(runtime, left).status is RunStatus.CANCELLED


def test_a_sweep_lets_the_living_work(factory: Factory) -> None:
    run = accept_run(factory.runtime)
    begin_run(factory.runtime, run)  # by this process, which lives
    before = get_run(factory.runtime, run)
    factory("sweep")  # the outbox
    assert factory("sweep").out == "nothing was left lying\n"
    assert get_run(factory.runtime, run) == before


def test_a_sweep_does_what_commits_left_to_be_done(factory: Factory) -> None:
    accept_run(factory.runtime)  # its template is to be remembered
    assert factory.runtime.store.due_messages(factory.runtime.clock.now())
    assert factory("sweep", "--json").json["done"] == 1
    left = factory.runtime.store.due_messages(factory.runtime.clock.now())
    assert {message.topic for message in left} == {SIGNALS}, "only what is for Prefect waits for it"
    assert factory("sweep", "--json").json == {**QUIET, "done": 0}


def test_two_sweeps_at_once_repair_each_thing_once(runtime: Runtime, left: Run) -> None:
    both = [typing(runtime, "sweep", "--json") for _ in range(2)]
    said = [typed(process) for process in both]
    assert [one.code for one in said] == [0, 0]
    assert sum(one.json["left"] for one in said) == 1
    assert sum(one.json["done"] for one in said) == 1
    job = get_jobs(runtime, left)["generate-repo"]
    assert (job.status, job.losses) == (JobStatus.PENDING, 1)


def test_a_loop_sweeps_again_until_ctrl_c(runtime: Runtime) -> None:
    process = typing(runtime, "sweep", "--loop", "1s", "--json")
    assert process.stdout is not None
    json.loads(process.stdout.readline())
    run = accept_run(runtime)
    begin_run(runtime, run, gone_worker())
    while json.loads(process.stdout.readline())["left"] == 0:
        pass
    process.send_signal(signal.SIGINT)
    said = typed(process)
    assert (said.code, said.err) == (0, "")
    assert get_run(runtime, run).admitted_at is None


def test_a_prefect_that_is_away_keeps_nothing_from_being_swept(
    runtime: Runtime, left: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_flow_run(runtime, left)
    monkeypatch.setenv("FACTORY_PREFECT_API_URL", "http://127.0.0.1:9/api")
    said = typed(typing(runtime, "sweep", "--json"))
    assert said.code == 0, said.err
    assert said.json["left"] == 1
    assert "Prefect does not answer" in said.json["prefect"]


def with_flow_run(runtime: Runtime, run: Run) -> None:
    with runtime.store.begin("local") as tx:
        stands = tx.lock_run(run.id)
        changed = stands.changed(runtime.clock.now(), flow_run_id="flow-1")
        tx.save_run(stands, changed)


@pytest.mark.parametrize("loop", ["soon", "", "0s", "-1s"])
def test_a_loop_without_a_duration_is_bad_usage(factory: Factory, loop: str) -> None:
    said = factory("sweep", "--loop", loop)
    assert (said.code, said.out) == (2, "")
    assert "--loop" in said.err


def test_a_store_that_is_away_is_unavailable(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_bytes(b"not a database" * 1000)
    monkeypatch.setenv("FACTORY_DATABASE_URL", f"sqlite:///{tmp_path}/broken.db")
    assert factory("sweep").code == 5


# --- doctor


def test_doctor_tells_of_runs_that_nobody_executes(factory: Factory) -> None:
    assert looks(factory)["open runs"]["found"] == "none"
    begin_run(factory.runtime, accept_run(factory.runtime))
    accept_run(factory.runtime, "billing")
    found = looks(factory)["open runs"]
    assert found["state"] == "warn"
    assert "1 with a slot, 1 waiting for one, and nothing executes them" in found["found"]
    assert found["fix"] == "`factory up`"


def test_doctor_tells_of_what_a_sweep_would_find(factory: Factory, left: Run) -> None:
    assert looks(factory)["left lying"]["state"] == "ok"
    runtime = factory.runtime
    owner = get_jobs(runtime, left)["generate-repo"].lease_owner or ""
    with runtime.store.begin("local") as tx:
        tx.renew_leases(left.id, owner, runtime.clock.now() - timedelta(seconds=1))
    cancel_run(runtime.store, runtime.clock, "local", left.id, "ada")
    found = looks(factory)["left lying"]
    assert (found["state"], found["found"]) == (
        "warn",
        "1 job of lost workers, 1 run to be cancelled",
    )
    factory("sweep")
    assert looks(factory)["left lying"]["state"] == "ok"


def test_doctor_tells_of_a_host_that_is_left_alone(factory: Factory) -> None:
    runtime = factory.runtime
    host = next(host for one in runtime.job_types.values() for host in one.facts.hosts)
    now = runtime.clock.now()
    assert looks(factory)["hosts"]["state"] == "ok"
    with runtime.store.begin("local") as tx:
        tx.save_breaker(Breaker("local", host, 5, now, now + timedelta(minutes=1)))
    found = looks(factory)["hosts"]
    assert found["state"] == "warn"
    assert f"{host} is left alone until" in found["found"]
