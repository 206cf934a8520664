"""The executing process is killed in the middle: another one goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from tests.factory import Factory, git, kill_executor, until

pytestmark = pytest.mark.slow


def steps_committed(factory: Factory, run: Run) -> list[str]:
    repository = factory.settings.git_folder / run.tenant_id / run.project_id / "orders.git"
    steps = git("log", "--format=%(trailers:key=Factory-Step,valueonly,separator=)", "main",
                cwd=repository).split()  # fmt: skip
    return sorted(steps)


def test_a_killed_executor_leaves_no_child_and_its_run_goes_on_where_it_was(tmp_path: Path):
    factory = Factory(tmp_path)
    factory.start()
    run = factory.request(
        "microservice", "killed", service_name="orders", entities=["customer", "product"]
    )

    def one_done() -> bool:
        return factory.jobs(run)["generate-repo"].status is JobStatus.SUCCEEDED

    until(one_done, "the first job is done")
    below = kill_executor(factory)
    assert not factory.run(run).ended
    until(lambda: not any(p.is_running() for p in below), "no child outlives its parent", 30)
    interrupted = [j.step for j in factory.jobs(run).values() if j.status is JobStatus.RUNNING]

    factory.start()
    ended = factory.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == factory.run(run).flow_run_id
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        attempts = tx.list_attempts(run.id)
    assert [a.number for a in attempts if a.step == "generate-repo"] == [1]
    for step in interrupted:
        outcomes = [a.outcome for a in attempts if a.step == step]
        assert outcomes == [Outcome.LOST, Outcome.SUCCEEDED]
    assert steps_committed(factory, run) == sorted(factory.jobs(run))
    factory.stop()
