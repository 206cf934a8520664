"""The executing process is killed in the middle of real work: another one goes on where it was."""

from __future__ import annotations

import psutil
import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from tests.executors import Site
from tests.factory import git
from tests.recipes import DELIVERY
from tests.recovery.conftest import POSTGRES_IN_SOAK

pytestmark = pytest.mark.slow


def steps_committed(site: Site, run: Run) -> list[str]:
    repository = site.settings.git_folder / run.tenant_id / run.project_id / "orders.git"
    steps = git("log", "--format=%(trailers:key=Factory-Step,valueonly,separator=)", "main",
                cwd=repository).split()  # fmt: skip
    return sorted(steps)


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
def test_a_killed_executor_leaves_no_child_and_its_run_goes_on_where_it_was(each_site: Site):
    site = each_site
    first = site.execute()
    run = site.request(
        "microservice", "killed", service_name="orders", entities=["customer", "product"]
    )

    def one_done() -> bool:
        return site.jobs(run)["generate-repo"].status is JobStatus.SUCCEEDED

    site.until(one_done, "the first job is done")
    below = first.kill()
    left = site.run(run)
    assert not left.ended
    _, orphans = psutil.wait_procs(below, timeout=10)
    assert not orphans, "no child outlives its parent"
    interrupted = [j.step for j in site.jobs(run).values() if j.status is JobStatus.RUNNING]

    site.execute()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == left.flow_run_id
    assert site.outcomes(run, "generate-repo") == ["succeeded"]
    for step in interrupted:
        assert site.outcomes(run, step) == ["lost", "succeeded"]
    assert steps_committed(site, run) == sorted(set(site.jobs(run)) - set(DELIVERY))
    site.until_shown(run, "COMPLETED", "Completed")
