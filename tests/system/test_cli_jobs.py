"""One job of a run: how it is shown, read and retried."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.completion import complete_step
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.body import Body
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import Checkpoint, Effect, RunEvent
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from tests.cli_home import (
    Factory,
    accept_run,
    begin_run,
    fail_run,
    get_jobs,
    get_run,
    move_run,
    typed,
    typing,
)

FIRST = "generate-repo"


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    """Its first job failed, and left a traceback that tries to steer the terminal."""
    run = fail_run(runtime)
    with runtime.store.begin("local") as tx:
        (attempt,) = tx.list_attempts(run.id)
        trace = Body(inline="Traceback (most recent call last):\n  \x1b[31mHostRejectedError")
        tx.save_attempt(replace(attempt, traceback=trace))
    return run


@pytest.fixture
def running(runtime: Runtime) -> Run:
    run = accept_run(runtime)
    begin_run(runtime, run)
    return get_run(runtime, run)


# --- show


def test_a_job_under_way_is_shown_with_its_lease_progress_and_checkpoint(
    factory: Factory, running: Run
) -> None:
    runtime, now = factory.runtime, factory.runtime.clock.now()
    job = get_jobs(runtime, running)[FIRST]
    state = Body(inline={"done": ["a", "b"]})
    saved = Checkpoint("local", running.id, FIRST, 2, 1, job.type, "7", now, state)
    key = f"{running.id}:{FIRST}"
    effect = Effect(key, "repository", "local", running.id, FIRST, "repository x", now)
    with runtime.store.begin("local") as tx:
        tx.note_progress(job, 0.45, "gathering source 3 of 5")
        tx.save_checkpoint(job, saved)
        tx.intend_effect(effect)
    out = factory("jobs", "show", running.id, FIRST).out
    for pattern in (
        r"status +Running",
        r"progress +45% gathering source 3 of 5",
        r"lease +\S+-walk, until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \(token 1\)",
        r"budget +0 of 5 failed",
        r"number +2",
        r"written by +\S+ version 7",
        r"generate-repo 1 +running",
        r"repository +intended +repository x",
    ):
        assert re.search(pattern, out), pattern
    shown = factory("jobs", "show", running.id, FIRST, "--json").json
    assert shown["checkpoint"]["state"] == {"done": ["a", "b"]}
    assert shown["job"]["progress"] == 0.45
    assert shown["effects"][0]["status"] == "intended"


def test_a_job_whose_worker_is_lost_says_so(factory: Factory, running: Run) -> None:
    runtime = factory.runtime
    past = runtime.clock.now() - timedelta(seconds=1)
    owner = get_jobs(runtime, running)[FIRST].lease_owner
    with runtime.store.begin("local") as tx:
        assert tx.renew_leases(running.id, owner or "", past)
    out = factory("jobs", "show", running.id, FIRST).out
    assert "its worker is lost: `factory sweep` takes it back" in out
    assert "ran out at" in out


def test_a_pending_job_names_the_jobs_it_waits_for(factory: Factory, running: Run) -> None:
    said = factory("jobs", "show", running.id, "create-docs", "--json").json
    assert said["why"] == f"waits for {FIRST} (Running)"
    assert said["needs"] == [{"step": FIRST, "status": "Running"}]
    assert said["checkpoint"] is None


def test_a_job_that_is_tried_again_says_when_and_why(factory: Factory, running: Run) -> None:
    runtime = factory.runtime
    job = get_jobs(runtime, running)[FIRST]
    due = runtime.clock.now() + timedelta(days=1)
    again = job.move_to(
        JobStatus.PENDING,
        runtime.clock.now(),
        not_before=due,
        failures=2,
        losses=1,
        error="the host is busy\nwait",
        lease_owner=None,
        lease_expires_at=None,
    )
    with runtime.store.begin("local") as tx:
        tx.save_job(job, again)
    out = factory("jobs", "show", running.id, FIRST).out
    assert re.search(r"Pending: tried again at \d{4}-\S+ \S+: the host is busy", out)
    assert "2 of 5 failed, 1 of 10 lost with their worker" in out


def test_a_skipped_job_says_why(factory: Factory, failed: Run) -> None:
    said = factory("jobs", "show", failed.id, "create-docs")
    assert "Skipped: a job it needs failed" in said.out


def test_a_traceback_is_shown_to_those_who_ask(factory: Factory, failed: Run) -> None:
    short = factory("jobs", "show", failed.id, FIRST).out
    assert "the host" in short
    assert "HostRejectedError" not in short
    whole = factory("jobs", "show", failed.id, FIRST, "--traceback").out
    assert "HostRejectedError" in whole
    assert "\x1b" not in whole
    assert (
        "HostRejectedError" in factory("jobs", "show", failed.id, FIRST, "--json").json["traceback"]
    )
    nothing = factory("jobs", "show", failed.id, "create-docs", "--traceback")
    assert (nothing.code, "no attempt left a traceback" in nothing.out) == (0, True)


@pytest.mark.parametrize("word", ["show", "logs", "retry"])
def test_an_unknown_step_is_not_found_and_those_like_it_are_named(
    factory: Factory, failed: Run, word: str
) -> None:
    said = factory("jobs", word, failed.id, "generate-rep")
    assert (said.code, said.out) == (3, "")
    assert f"did you mean {FIRST!r}" in said.err
    far = factory("jobs", word, failed.id, "\x1b[2Jzzz")
    assert (far.code, "\x1b" in far.err) == (3, False)
    assert f"`factory runs show {failed.id}`" in far.err
    assert factory("jobs", word, failed.id, FIRST, "--tenant", "other").code == 3
    assert factory("jobs", word, "run-nope", FIRST).code == 3


def test_a_step_done_for_each_item_is_looked_for_by_its_name(factory: Factory) -> None:
    asked = ("run", "microservice", "--set", "service_name=a1", "--set", "entities=order")
    plan = factory(*asked, "--dry-run", "--json").json
    (step,) = (job["name"] for job in plan["jobs"] if "[" in job["name"])
    inputs = {"service_name": "a1", "entities": ["order"]}
    run = request_run(
        factory.runtime.desk, RunRequest("local", "default", "microservice", inputs, "ada")
    )
    said = factory("jobs", "show", run.id, step.partition("[")[0], "--json")
    assert said.error["hint"] == f"did you mean {step!r}?"
    assert factory("jobs", "show", run.id, step).code == 0


# --- logs


def test_a_jobs_log_is_its_own(factory: Factory, failed: Run) -> None:
    out = factory("jobs", "logs", failed.id, FIRST).out
    assert "asked the host" in out
    assert "create-docs" not in out
    events = factory("jobs", "logs", failed.id, "--json").json["events"]
    assert {event["step"] for event in events} == set(get_jobs(factory.runtime, failed))
    assert factory("jobs", "logs", "run-nope").code == 3


def test_a_log_is_followed_until_its_job_has_ended(runtime: Runtime, running: Run) -> None:
    process = typing(runtime, "jobs", "logs", running.id, FIRST, "--follow", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["to_status"] == "Running"
    now = runtime.clock.now()
    with runtime.store.begin("local") as tx:
        detail = {"message": "half done"}
        tx.add_event(RunEvent("local", running.id, now, "log", FIRST, detail=detail))
    assert json.loads(process.stdout.readline())["detail"] == detail
    job = get_jobs(runtime, running)[FIRST]
    with runtime.store.begin("local") as tx:
        tx.save_job(job, job.move_to(JobStatus.SUCCEEDED, now))
    said = typed(process)
    assert said.code == 0
    assert json.loads(said.out)["to_status"] == "Succeeded"


def test_ctrl_c_ends_the_following(runtime: Runtime, running: Run) -> None:
    process = typing(runtime, "jobs", "logs", running.id, "-f")
    assert process.stdout is not None
    assert "Running" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = typed(process)
    assert (said.code, said.err) == (1, "interrupted\n")


# --- retry


def test_one_job_goes_round_again_with_what_is_behind_it(factory: Factory, failed: Run) -> None:
    said = factory("jobs", "retry", failed.id, FIRST, "--json")
    assert said.code == 0
    (told,) = said.json["runs"]
    assert (told["run"]["status"], told["run"]["cycle"]) == ("Queued", 1)
    assert get_jobs(factory.runtime, failed)[FIRST].status is JobStatus.PENDING
    assert factory("jobs", "retry", failed.id, FIRST).code == 4


def test_a_job_whose_need_failed_is_out_of_reach(factory: Factory, failed: Run) -> None:
    said = factory("jobs", "retry", failed.id, "create-docs")
    assert said.code == 4
    assert f"retry {FIRST} first" in said.err
    assert get_run(factory.runtime, failed).status is RunStatus.FAILED


def test_a_job_of_a_run_under_way_cannot_be_retried(factory: Factory, running: Run) -> None:
    assert factory("jobs", "retry", running.id, FIRST).code == 4
    assert get_run(factory.runtime, running) == running


# --- beside them


def test_steps_of_the_run_are_completed(runtime: Runtime, failed: Run) -> None:
    def offered(incomplete: str, **params: Any) -> list[str]:
        return complete_step(cast(Any, SimpleNamespace(params=params)), incomplete)

    assert offered("gen", run_id=failed.id) == ["generate-repo", "generate-pipelines"]
    assert offered("gen", run_id=failed.id, tenant="other") == []
    assert offered("gen", run_id="run-nope") == []
    assert offered("gen") == []
    move_run(runtime, failed, RunStatus.QUEUED)
    assert offered("create", run_id=failed.id) == ["create-docs"]
