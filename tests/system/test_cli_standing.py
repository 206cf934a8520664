"""`factory runs show` and `list` tell why a run waits: which limit, who holds it, what changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Run
from factory_runtime.services.pause_run import pause_run
from tests.cli_home import Factory, accept_run, begin_run, get_jobs


@pytest.fixture
def running(runtime: Runtime) -> Run:
    run = accept_run(runtime)
    begin_run(runtime, run)
    return run


def why(factory: Factory, run: Run) -> str:
    """What the page says of why the run waits."""
    shown = factory("runs", "show", run.id).out
    return shown.partition("Why it waits\n")[2].partition("\n\n")[0]


def test_the_page_names_the_limit_its_holders_and_what_would_change_it(
    factory: Factory, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_MAX_RUNNING_RUNS", "1")
    waiting = accept_run(factory.runtime, "billing")
    said = why(factory, waiting)
    assert "waits for a slot (1 of 1 taken), 1st in the queue (FACTORY_MAX_RUNNING_RUNS)" in said
    assert f"held by {running.id}\n" in said
    assert "when one of these runs ends or with a higher FACTORY_MAX_RUNNING_RUNS" in said
    assert "`factory up`" in said
    reasons = factory("runs", "show", waiting.id, "--json").json["reasons"]
    assert [reason["kind"] for reason in reasons] == ["slots", "nobody"]
    assert reasons[0]["holders"] == [running.id]
    assert (reasons[0]["allowed"], reasons[0]["taken"], reasons[0]["overall"]) == (1, 1, 1)


def test_a_tenants_own_limit_comes_from_its_policy(
    factory: Factory, running: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "local.yaml").write_text("quotas: {running_runs: 1}\n")
    monkeypatch.setenv("FACTORY_POLICY_FOLDER", str(tmp_path))
    waiting = accept_run(factory.runtime, "billing")
    said = why(factory, waiting)
    assert "1 of 1 of its tenant's taken" in said
    assert "(quotas.running_runs)" in said
    assert f"held by {running.id}" in said
    listed = factory("runs", "list").out
    assert "its tenant's slots" in listed


def test_a_job_in_line_for_its_topic_is_named_with_its_place(
    factory: Factory, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = factory.runtime
    other = accept_run(runtime, "billing")
    first: Job = begin_run(runtime, other)
    monkeypatch.setenv("FACTORY_TOPIC_CAPS", f'{{"{first.type}": 2}}')
    third = accept_run(runtime, "stock")
    begun = begin_run(runtime, third)
    now = runtime.clock.now()
    with runtime.store.begin("local") as tx:  # as its first attempt to claim it would leave it
        back = begun.move_to(JobStatus.PENDING, now, lease_owner=None, lease_expires_at=None)
        tx.save_job(begun, back)
        wait = TopicWait("local", third.id, begun.step, begun.type, begun.priority, now, now)
        tx.save_topic_wait(wait)
    said = why(factory, third)
    assert f"{begun.step}: 2 of 2 jobs of type {begun.type} are at work, 1st in line" in said
    assert "(FACTORY_TOPIC_CAPS)" in said
    assert {running.id, other.id} == set(said.partition("held by ")[2].split("\n")[0].split(", "))
    assert get_jobs(runtime, third)[begun.step].attempt == 1


def test_the_list_says_in_a_word_what_runs_wait_for(
    factory: Factory, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_MAX_RUNNING_RUNS", "1")
    runtime = factory.runtime
    first, second, held = (accept_run(runtime, name) for name in ("billing", "stock", "mail"))
    pause_run(runtime.store, runtime.clock, "local", held.id, "ada")
    rows = {row["id"]: row["waits_for"] for row in factory("runs", "list", "--json").json["runs"]}
    assert rows == {
        running.id: None,
        first.id: "1st in the queue",
        second.id: "2nd in the queue",
        held.id: "to be resumed",
    }
    assert "waits for" in factory("runs", "list").out.splitlines()[0]


def test_where_nothing_waits_nothing_is_said_of_it(factory: Factory, running: Run) -> None:
    assert "waits for" not in factory("runs", "list").out
    assert why(factory, running) == ""


@pytest.mark.parametrize("caps", ["[1]", '{"act": -1}', "{"])
def test_caps_of_topics_that_make_no_sense_are_refused(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, caps: str
) -> None:
    monkeypatch.setenv("FACTORY_TOPIC_CAPS", caps)
    said = factory("runs", "list")
    assert said.code == 2
    assert "FACTORY_TOPIC_CAPS" in said.err
