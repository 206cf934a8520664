"""Rules of the engine that need the whole stack: caching, failing, stopping, reviving."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.stack import read_state
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.end_run import cancel_run
from tests.factory import Factory, git, until
from tests.recipes import COPIER, a_layer, a_source, a_template
from tests.renders import renders_below
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow


def test_a_changed_source_file_is_rendered_again(factory: Factory):
    factory.template("changing", a_template("changing"), a_source("one\n"))
    first = factory.complete("changing", "changing-1", name="svc")
    factory.template("changing", a_template("changing", version="1.0.1"), a_source("one\n"))
    same = factory.complete("changing", "changing-2", name="svc")
    factory.template("changing", a_template("changing", version="1.0.2"), a_source("two\n"))
    other = factory.complete("changing", "changing-3", name="svc")
    cached = [factory.jobs(run)["base"].cached for run in (first, same, other)]
    assert cached == [False, True, False]


def test_two_runs_that_need_one_render_at_once_make_it_once(factory: Factory):
    factory.template(
        "twice", a_template("twice"), a_source("{% for i in range(9999) %}x{% endfor %}")
    )
    runs = [factory.request("twice", f"twice-{n}", name="svc") for n in range(2)]
    ended = [factory.wait(run) for run in runs]
    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}
    assert sorted(bool(factory.jobs(run)["base"].cached) for run in ended) == [False, True]


def test_an_artifact_gone_or_damaged_behind_a_cached_render_is_made_again_and_then_published(
    factory: Factory,
):
    factory.template("rotten", a_template("rotten"), a_source("sound\n"))
    first = factory.complete("rotten", "rotten-1", name="svc")
    (tree,) = (a for a in factory.artifacts(first) if a.kind == "tree")
    assert tree.sha256 is not None
    (body,) = factory.settings.artifacts_folder.glob(f"*/sha256/*/{tree.sha256}")
    whole = body.read_bytes()

    factory.runtime.storage.delete(first.tenant_id, tree.sha256)
    second = factory.complete("rotten", "rotten-2", name="svc")
    assert second.status is RunStatus.SUCCEEDED
    assert factory.jobs(second)["base"].cached is False
    assert factory.runtime.storage.verify(first.tenant_id, tree.sha256)

    body.chmod(0o644)
    body.write_bytes(whole.replace(b"sound", b"wrong"))
    third = factory.complete("rotten", "rotten-3", name="svc")
    assert third.status is RunStatus.SUCCEEDED
    assert factory.jobs(third)["base"].cached is False
    place = factory.settings.git_folder / "local" / "rotten-3" / "svc.git"
    assert git("show", "main:readme.txt", cwd=place) == "sound\n"
    assert body.read_bytes() == whole


def test_a_failed_job_fails_the_run_skips_what_is_behind_it_and_says_why(factory: Factory):
    behind = [
        *a_layer("broken", "files/broken"),
        *a_layer("fine", "files/fine"),
        *[line.replace("needs: [base]", "needs: [base, broken]")
          for line in a_layer("behind", "files/fine2")],
    ]  # fmt: skip
    files = (
        a_source()
        | a_source("{{ missing.attribute }}", "files/broken")
        | {"files/fine/copier.yml": COPIER, "files/fine/content/fine.txt": "f"}
        | {"files/fine2/copier.yml": COPIER, "files/fine2/content/fine2.txt": "f"}
    )
    factory.template("failing", a_template("failing", *behind), files)
    run = factory.complete("failing", "failing", name="svc")
    jobs = factory.jobs(run)
    assert run.status is RunStatus.FAILED
    assert run.error == "failed: broken"
    assert jobs["broken"].status is JobStatus.FAILED
    assert jobs["broken"].attempt == 1  # a template's error is not tried again
    assert "readme.txt" in str(jobs["broken"].error)
    assert jobs["fine"].status is JobStatus.SUCCEEDED
    assert jobs["behind"].skip_reason is SkipReason.NEED_FAILED
    flow_run = factory.prefect("GET", f"/flow_runs/{run.flow_run_id}")
    until(
        lambda: factory.prefect("GET", f"/flow_runs/{run.flow_run_id}")["state_type"] == "FAILED",
        f"Prefect agrees about {flow_run['name']}",
    )


def test_a_cancelled_run_leaves_no_child_and_can_be_asked_for_again(factory: Factory):
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    factory.template("endless", a_template("endless"), a_source(endless))
    run = factory.request("endless", "endless", name="svc")
    factory.wait(run, RunStatus.RUNNING)
    assert factory.child is not None
    executor = psutil.Process(factory.child.pid)

    until(lambda: renders_below(executor), "the render runs")
    cancel_run(factory.runtime.store, factory.runtime.clock, run.tenant_id, run.id, "tester")
    ended = factory.wait(run)
    assert ended.status is RunStatus.CANCELLED
    shown = f"/flow_runs/{ended.flow_run_id}"
    assert {job.status for job in factory.jobs(run).values()} == {JobStatus.CANCELLED}
    until(lambda: not renders_below(executor), "no child outlives its run", 5)
    until(
        lambda: factory.prefect("GET", shown)["state_type"] == "CANCELLED",
        "Prefect agrees",
    )
    factory.template("endless", a_template("endless", version="1.0.1"), a_source("short\n"))
    assert factory.complete("endless", "endless", name="svc").status is RunStatus.SUCCEEDED


def test_a_run_past_its_deadline_is_cancelled_by_the_system(factory: Factory):
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    factory.template("late", "deadline: 2s\n" + a_template("late"), a_source(endless))
    run = factory.complete("late", "late", name="svc")
    assert run.status is RunStatus.CANCELLED
    assert run.error == "cancelled by its deadline"
    assert {job.status for job in factory.jobs(run).values()} == {JobStatus.CANCELLED}


def test_an_optional_job_may_fail_and_the_run_succeeds(factory: Factory):
    files = a_source() | a_source("{{ missing.attribute }}", "files/broken")
    steps = a_layer("broken", "files/broken", on_failure="continue")
    factory.template("lenient", a_template("lenient", *steps), files)
    run = factory.complete("lenient", "lenient", name="svc")
    assert run.status is RunStatus.SUCCEEDED
    assert factory.jobs(run)["broken"].status is JobStatus.FAILED


def test_a_run_that_begins_in_prefect_leaves_the_same_records(factory: Factory):
    factory.template("born", a_template("born"), a_source("born\n"))
    state = read_state(factory.settings)
    assert state is not None
    # What a Prefect worker does: import the entrypoint, call the flow with its parameters.
    script = "import asyncio, flows.templates as t; asyncio.run(t.born(name='born-in-prefect'))"
    environment = factory.environment() | {
        "FACTORY_PROJECT": "born",
        "FACTORY_HOOKS": "false",  # the stack's executor has LanceDB imported already
        "PREFECT_API_URL": state.api_url,
        "PREFECT_HOME": str(factory.settings.prefect_folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    with factory.runtime.store.begin("local", read_only=True) as tx:
        runs = [run for run in tx.list_runs(_project("born")).items]
    (run,) = runs
    assert run.status is RunStatus.SUCCEEDED
    assert run.requested_by == "prefect"
    assert factory.prefect("GET", f"/flow_runs/{run.flow_run_id}")["state_type"] == "COMPLETED"


def test_a_chain_goes_on_from_its_checkpoints_whichever_part_of_the_stack_is_killed(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second, held = tmp_path / "first", tmp_path / "second", tmp_path / "held"
    go = tmp_path / "go"
    steps = (
        f"name: c0, type: count, with: {{file: {first}, to: 20}}",
        f"name: held, type: touch, needs: [c0], with: {{file: {held}, gate_before: {go}}}",
        f"name: c1, type: count, needs: [held], with: {{file: {second}, to: 20}}",
    )
    factory.template("chain", a_work_template("chain", *steps))
    run = factory.request("chain", "chain")

    until(lambda: len(lines_of(first)) >= 5, "the first job is under way")
    (server,) = _servers(factory)
    server.send_signal(signal.SIGKILL)
    until(lambda: _servers(factory) not in ([], [server]), "the server is started again")
    go.touch()

    until(lambda: len(lines_of(second)) >= 5, "the second job is under way")
    for name, value in _kill_all(factory).items():
        monkeypatch.setenv(name, value)
    factory.start()

    ended = factory.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    numbers = [str(number) for number in range(1, 21)]
    assert lines_of(first) == numbers
    again = Counter(lines_of(second)) - Counter(numbers)
    assert set(lines_of(second)) == set(numbers)
    assert again.total() <= 1, "only one that was not noted yet may come again"
    jobs = factory.jobs(run)
    assert [jobs[step].attempt for step in ("c0", "held", "c1")] == [1, 1, 2]
    assert {job.failures for job in jobs.values()} == {0}
    assert lines_of(held) == [f"{run.id}:held"]
    until(lambda: _completed(factory, str(ended.flow_run_id)), "Prefect shows the same one's end")


def _servers(factory: Factory) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in factory.processes():
        with suppress(psutil.Error):  # it has ended, and nobody has taken notice yet
            found += [process] if "deployments.server" in process.cmdline() else []
    return found


def _kill_all(factory: Factory) -> dict[str, str]:
    """SIGKILL for all of the stack at once; the environment that it was started in."""
    assert factory.child is not None
    whole = factory.processes()
    environment = whole[0].environ()
    for process in whole:
        with suppress(psutil.NoSuchProcess):  # it ends with one that was killed before it
            process.send_signal(signal.SIGKILL)
    factory.child.wait()
    assert factory.child.stdin is not None
    factory.child.stdin.close()
    factory.child = None
    _, left = psutil.wait_procs(whole, timeout=60)
    assert not left, "a part of the stack outlives it"
    return environment


def _completed(factory: Factory, flow_run_id: str) -> bool:
    try:
        return factory.prefect("GET", f"/flow_runs/{flow_run_id}")["state_type"] == "COMPLETED"
    except httpx.HTTPError:
        return False


def _project(name: str) -> RunFilter:
    return RunFilter(project_id=name)
