"""Long and rough: many runs, and an executor that is killed again and again. `make soak`."""

from __future__ import annotations

import random
import time
from pathlib import Path

import psutil
import pytest

from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from tests.factory import LIMIT_SECONDS, Factory, git, kill_executor, until
from tests.recipes import DELIVERY

pytestmark = pytest.mark.soak

RUNS = 16
KILLS = 4  # one less than a job has attempts: a kill costs one of those under way


def test_runs_under_an_executor_that_is_killed_again_and_again_all_end_with_one_commit_per_step(
    tmp_path: Path,
):
    moments = random.Random(20260102)  # noqa: S311 - repeatable, not secret
    factory = Factory(tmp_path)
    runs = [
        factory.request(
            "microservice", f"chaos-{number % 6}", service_name=f"svc-{number}",
            entities=["customer", "product"],
        )
        for number in range(RUNS)
    ]  # fmt: skip
    killed = 0
    for _ in range(KILLS):
        factory.start()
        time.sleep(moments.uniform(0.3, 4.0))
        if all(factory.run(run).ended for run in runs):
            break
        below = kill_executor(factory)
        killed += 1
        psutil.wait_procs(below, timeout=30)
        assert not any(process.is_running() for process in below), "an orphan is left"
    assert killed >= KILLS // 2, "the runs were over before they could be disturbed"
    if factory.child is None:
        factory.start()
    until(lambda: all(factory.run(run).ended for run in runs), "every run ends", 3 * LIMIT_SECONDS)
    for run in runs:
        _is_whole(factory, run)
    factory.stop()


def _is_whole(factory: Factory, run: Run) -> None:
    ended = factory.run(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        effects = tx.list_effects(run_id=run.id)
        name = tx.get_run(run.id).inputs.inline["service_name"]
    assert {effect.status for effect in effects} == {EffectStatus.CONFIRMED}
    repository = factory.settings.git_folder / run.tenant_id / run.project_id / f"{name}.git"
    steps = git("log", "--format=%(trailers:key=Factory-Step,valueonly,separator=)", "main",
                cwd=repository).split()  # fmt: skip
    assert sorted(steps) == sorted(set(factory.jobs(run)) - set(DELIVERY))
