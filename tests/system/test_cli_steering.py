"""Cancel, pause, resume and retry: what people tell runs, and what they are answered."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable

import pytest

from cli.person import person
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import end_run
from factory_runtime.services.pause_run import pause_run
from tests.cli_home import (
    Factory,
    accept_run,
    begin_run,
    fail_run,
    get_jobs,
    get_run,
    move_run,
    put_aside,
    typed,
    typing,
    until,
)

WORDS = ("cancel", "pause", "resume", "retry")


@pytest.fixture
def accepted(runtime: Runtime) -> Run:
    return accept_run(runtime)


@pytest.fixture
def running(runtime: Runtime) -> Run:
    """Executed by this process, its first job under way."""
    run = accept_run(runtime)
    begin_run(runtime, run)
    return get_run(runtime, run)


@pytest.fixture
def paused(runtime: Runtime, running: Run) -> Run:
    put_aside(runtime, running)
    return get_run(runtime, running)


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    return fail_run(runtime)


# --- cancel


def test_a_run_that_nobody_executes_is_cancelled_at_once(factory: Factory, accepted: Run) -> None:
    said = factory("runs", "cancel", accepted.id)
    assert (said.code, said.out) == (0, f"{accepted.id}  Cancelled\n")
    ended = get_run(factory.runtime, accepted)
    assert ended.error == f"cancelled by {person()}"
    assert {job.status for job in get_jobs(factory.runtime, accepted).values()} == {
        JobStatus.CANCELLED
    }


def test_a_run_under_way_is_asked_to_stop(factory: Factory, running: Run) -> None:
    said = factory("runs", "cancel", running.id)
    assert (said.code, "asked to stop" in said.out) == (0, True)
    assert get_run(factory.runtime, running).cancel_requested_at is not None


def test_cancelling_twice_is_cancelling_once(factory: Factory, accepted: Run) -> None:
    factory("runs", "cancel", accepted.id)
    before = get_run(factory.runtime, accepted)
    assert factory("runs", "cancel", accepted.id).code == 0
    assert get_run(factory.runtime, accepted) == before


def test_a_failed_run_cannot_be_cancelled(factory: Factory, failed: Run) -> None:
    said = factory("runs", "cancel", failed.id)
    assert (said.code, said.out) == (4, "")
    assert said.err == f"run {failed.id} is Failed and cannot become Cancelled\n"


@pytest.mark.parametrize(
    ("end", "code"), [(RunStatus.CANCELLED, 0), (RunStatus.SUCCEEDED, 4)], ids=["obeys", "finishes"]
)
def test_who_waits_learns_whether_the_run_stopped_or_finished_first(
    runtime: Runtime, running: Run, end: RunStatus, code: int
) -> None:
    process = typing(runtime, "runs", "cancel", running.id, "--wait")
    until(lambda: get_run(runtime, running).cancel_requested_at, "it is asked")
    assert process.poll() is None
    move_run(runtime, running, end)
    said = typed(process)
    assert said.code == code
    assert end in (said.out if code == 0 else said.err)


def test_who_has_waited_enough_is_told_how_the_run_is(factory: Factory, running: Run) -> None:
    said = factory("runs", "cancel", running.id, "--wait", "--for", "1s")
    assert said.code == 5
    assert f"run {running.id} is Running and not Cancelled after 1.0 s" in said.err


# --- pause and resume


def test_a_run_nobody_has_begun_is_held_in_the_queue(factory: Factory, accepted: Run) -> None:
    said = factory("runs", "pause", accepted.id, "--wait")
    assert (said.code, "held in the queue" in said.out) == (0, True)
    assert factory.runtime.store.waiting_runs(factory.runtime.clock.now()) == ()
    assert "factory up" not in said.out  # it would not execute this one
    assert factory("runs", "resume", accepted.id).code == 0
    (key,) = factory.runtime.store.waiting_runs(factory.runtime.clock.now())
    assert key.run_id == accepted.id


def test_a_run_under_way_is_asked_to_pause_and_who_waits_sees_it_paused(
    runtime: Runtime, running: Run
) -> None:
    process = typing(runtime, "runs", "pause", running.id, "--wait", "--json")
    until(lambda: get_run(runtime, running).pause_requested_at, "it is asked")
    assert process.poll() is None
    put_aside(runtime, running)
    said = typed(process)
    assert said.code == 0
    assert [one["run"]["status"] for one in said.json["runs"]] == ["Paused"]


def test_a_paused_run_goes_back_to_the_queue(factory: Factory, paused: Run) -> None:
    said = factory("runs", "resume", paused.id)
    assert said.code == 0
    assert said.out.splitlines() == [
        f"{paused.id}  Queued",
        "nothing executes it here: `factory up` does",
    ]
    assert get_run(factory.runtime, paused).status is RunStatus.QUEUED
    with factory.runtime.store.begin("local", read_only=True) as tx:
        assert tx.list_events(paused.id)[-1].detail["by"] == person()


def test_a_run_that_never_paused_cannot_be_resumed(factory: Factory, running: Run) -> None:
    said = factory("runs", "resume", running.id)
    assert said.code == 4
    assert "only a paused run can be resumed" in said.err


def test_a_run_being_cancelled_can_be_neither_paused_nor_resumed(
    factory: Factory, running: Run
) -> None:
    factory("runs", "cancel", running.id)
    assert factory("runs", "pause", running.id).code == 4
    assert factory("runs", "resume", running.id).code == 4


# --- retry


def test_a_failed_run_goes_round_again_from_what_failed(factory: Factory, failed: Run) -> None:
    said = factory("runs", "retry", failed.id)
    assert said.code == 0
    assert f"{failed.id}  Queued, cycle 1" in said.out
    assert {job.status for job in get_jobs(factory.runtime, failed).values()} == {JobStatus.PENDING}
    assert f"cycle 1, by {person()}" in factory("runs", "logs", failed.id).out
    assert re.search(r"cycle +1", factory("runs", "show", failed.id).out)


def test_of_two_retries_at_once_one_is_told_of_the_other(runtime: Runtime, failed: Run) -> None:
    both = [typing(runtime, "runs", "retry", failed.id, "--json") for _ in range(2)]
    said = [typed(process) for process in both]
    assert sorted(one.code for one in said) == [0, 4]
    assert get_run(runtime, failed).cycle == 1
    (refused,) = (one for one in said if one.code)
    assert refused.error["code"] == "illegal-transition"


def test_a_refused_request_has_nothing_to_retry(factory: Factory) -> None:
    refused = factory("run", "microservice", "--set", "port=x", "--json").error["run_id"]
    said = factory("runs", "retry", refused)
    assert (said.code, said.out) == (2, "")
    assert "request it anew" in said.err


@pytest.mark.parametrize("word", ["resume", "retry"])
def test_a_run_that_goes_on_can_be_followed_to_its_end(
    runtime: Runtime, paused: Run, failed: Run, word: str
) -> None:
    run = paused if word == "resume" else failed
    process = typing(runtime, "runs", word, run.id, "--watch", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert (first["run_id"], first["run"]["status"]) == (run.id, "Queued")
    move_run(runtime, run, RunStatus.CANCELLED, error="enough")
    said = typed(process)
    assert said.code == 1
    assert json.loads(said.out.splitlines()[-1])["to_status"] == "Cancelled"


# --- several, and those that are not there


def test_one_bad_id_does_not_keep_the_others(factory: Factory, failed: Run) -> None:
    other = accept_run(factory.runtime, "billing")
    said = factory("runs", "cancel", "run-nope", other.id, failed.id, other.id, "--json")
    assert said.code == 4  # the worst: 3 for the first, 0, 4 for the last
    told = said.json["runs"]
    assert [one["run_id"] for one in told] == ["run-nope", other.id, failed.id]
    assert [one["error"] and one["error"]["code"] for one in told] == [
        "run-not-found",
        None,
        "illegal-transition",
    ]
    assert told[1]["run"]["status"] == "Cancelled"
    assert [json.loads(line)["error"]["code"] for line in said.err.splitlines()] == [
        "run-not-found",
        "illegal-transition",
    ]


def test_that_nothing_executes_them_is_said_once(factory: Factory, failed: Run) -> None:
    other = accept_run(factory.runtime)
    runtime = factory.runtime
    end_run(runtime.store, runtime.clock, "local", other.id, RunStatus.FAILED, "no stack")
    said = factory("runs", "retry", failed.id, other.id)
    assert said.out.count("factory up") == 1
    assert factory("runs", "cancel", failed.id, "--json").json["executed"] is False


@pytest.mark.parametrize("word", WORDS)
def test_an_unknown_run_is_not_found_and_no_traceback(factory: Factory, word: str) -> None:
    for name in ("run-nope", "", "../../etc/passwd", "run-\x1b[31m", "' OR 1=1"):
        said = factory("runs", word, "--", name)
        assert (said.code, said.out) == (3, ""), name
        assert "\x1b" not in said.err


@pytest.mark.parametrize("word", WORDS)
def test_another_tenants_run_is_not_there(
    factory: Factory, failed: Run, paused: Run, word: str
) -> None:
    before = [get_run(factory.runtime, run) for run in (failed, paused)]
    assert factory("runs", word, failed.id, paused.id, "--tenant", "other").code == 3
    assert [get_run(factory.runtime, run) for run in (failed, paused)] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cancel",), "RUN_ID"),
        (("cancel", "run-1", "--for", "5s"), "--wait"),
        (("pause", "run-1", "--wait", "--for", "soon"), "--for"),
        (("retry", "run-1", "--wait"), "--wait"),
        (("cancel", "run-\udcff"), "UTF-8"),
    ],
)
def test_bad_usage_changes_nothing(factory: Factory, words: Iterable[str], message: str) -> None:
    said = factory("runs", *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


# --- how runs are shown meanwhile


def test_a_run_that_waits_for_a_slot_says_so_and_its_place(
    factory: Factory, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_MAX_RUNNING_RUNS", "1")
    first, second = (accept_run(factory.runtime, name) for name in ("billing", "stock"))
    shown = factory("runs", "show", second.id, "--json").json["standing"]
    assert shown.startswith("waits for a slot (1 of 1 taken), 2nd in the queue")
    assert "1st in the queue" in factory("runs", "show", first.id).out
    assert factory("runs", "show", running.id, "--json").json["run"]["status"] == "Running"


def test_a_waiting_run_says_what_for_and_when_it_goes_on(factory: Factory) -> None:
    runtime = factory.runtime
    run = accept_run(runtime)
    job = begin_run(runtime, run)
    due = runtime.clock.now().replace(year=2999)
    with runtime.store.begin("local") as tx:
        tx.save_job(
            job,
            job.move_to(
                JobStatus.WAITING,
                runtime.clock.now(),
                phrase="the pipeline",
                not_before=due,
                lease_owner=None,
                lease_expires_at=None,
            ),
        )
    move_run(runtime, run, RunStatus.WAITING, wake_at=due)
    out = factory("runs", "show", run.id).out
    assert re.search(r"Waiting: goes on at 2999-\S+ \S+: the pipeline", out)
    assert re.search(r"generate-repo +Waiting .*the pipeline, goes on at 2999", out)


def test_watching_shows_how_far_a_job_is_and_goes_on_while_paused(
    runtime: Runtime,
) -> None:
    run = accept_run(runtime)
    job = begin_run(runtime, run)
    with runtime.store.begin("local") as tx:
        tx.note_progress(job, 0.45, "gathering source 3 of 5")
    process = typing(runtime, "runs", "watch", run.id)
    assert process.stdout is not None
    seen = ""
    while "gathering" not in seen:
        seen = process.stdout.readline()
    assert re.search(r"generate-repo +Running +45% gathering source 3 of 5", seen)
    pause_run(runtime.store, runtime.clock, "local", run.id, "ada")
    while "asked to pause by ada" not in seen:
        seen = process.stdout.readline()
    put_aside(runtime, run)
    while f"factory runs resume {run.id}" not in seen:
        seen = process.stdout.readline()
    assert process.poll() is None
    move_run(runtime, run, RunStatus.CANCELLED, error="enough")
    said = typed(process)
    assert said.code == 1
    assert f"{run.id} Cancelled\nenough\n" in said.out


def test_ctrl_c_ends_the_watching_and_not_the_run(runtime: Runtime, running: Run) -> None:
    process = typing(runtime, "runs", "watch", running.id)
    assert process.stdout is not None
    while "Running" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    said = typed(process)
    assert said.code == 1
    assert f"no longer watched: {running.id} stays Running" in said.out
    assert get_run(runtime, running) == running


def test_progress_is_an_event_for_programs_too(runtime: Runtime, running: Run) -> None:
    job = get_jobs(runtime, running)["generate-repo"]
    with runtime.store.begin("local") as tx:
        tx.note_progress(job, 0.5, "half")
    process = typing(runtime, "runs", "watch", running.id, "--json")
    assert process.stdout is not None
    event = {"kind": ""}
    while event["kind"] != "progress":
        event = json.loads(process.stdout.readline())
    assert event["detail"] == {"progress": 0.5, "phrase": "half", "not_before": None}
    process.send_signal(signal.SIGINT)
    assert typed(process).code == 1
