"""Two of everything, and one of each killed: every run ends once, under one cap and in one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.run import Priority, Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from tests.production import Production, production
from tests.work_types import a_work_template, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.service]

CAP = 4
"""As ``deployments/compose.yaml`` has it: two workers of two processes."""

TENANTS = ("acme", "umbrella")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Production]:
    with production(tmp_path) as made:
        yield made


@pytest.mark.soak
def test_of_two_of_everything_one_of_each_may_be_killed(site: Production, tmp_path: Path):
    _kill_one_of_each(site, tmp_path, runs=12)


@pytest.mark.soak
def test_of_two_of_everything_one_of_each_may_be_killed_at_length(site: Production, tmp_path: Path):
    _kill_one_of_each(site, tmp_path, runs=200)


def _kill_one_of_each(site: Production, folder: Path, runs: int) -> None:
    touched, runtime = folder / "touched", site.runtime(CAP)
    _write_template(site, touched)
    asked = [_ask(runtime, number) for number in range(runs)]
    api, workers = site.parts[2], [site.start("worker") for _ in range(2)]
    each = CAP // len(workers)
    site.until(lambda: all(len(one.warm) == each for one in workers), "the workers are warm")
    dispatchers = [site.start("dispatcher") for _ in range(2)]
    most = 0

    def ended(share: float) -> bool:
        nonlocal most
        most = max(most, len(runtime.store.running_runs()))
        return len(lines_of(touched)) >= share * runs

    site.until(
        lambda: ended(0) and len(_processes(runtime, asked)) > each, "both workers are at work"
    )
    site.until(lambda: ended(0.2), "a fifth of the runs is done")
    undisturbed = sum(_now(runtime, run).status is not RunStatus.VALIDATED for run in asked)
    for share, victim in ((0.2, workers[0]), (0.4, api), (0.6, dispatchers[0])):
        site.until(lambda share=share: ended(share), f"{share:.0%} of the runs are done", 300)
        victim.kill()
    site.until(lambda: ended(1) and all(_now(runtime, run).ended for run in asked), "all end", 600)

    assert {_now(runtime, run).status for run in asked} == {RunStatus.SUCCEEDED}
    assert Counter(lines_of(touched)) == Counter(f"{run.id}:touch" for run in asked)
    assert most == CAP
    _assert_in_order(runtime, asked, undisturbed)


def _write_template(site: Production, touched: Path) -> None:
    folder = site.templates / "touching"
    folder.mkdir(parents=True)
    step = f"name: touch, type: touch, with: {{file: '{touched}', before: 0.1, after: 0.1}}"
    (folder / "template.yaml").write_text(a_work_template("touching", step))


def _ask(runtime: Runtime, number: int) -> Run:
    priority = list(Priority)[number % 3]
    tenant = TENANTS[number % len(TENANTS)]
    return request_run(
        runtime.desk,
        RunRequest(tenant, "default", "touching", {}, "tester", priority=priority),
    )


def _now(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def _processes(runtime: Runtime, asked: list[Run]) -> set[str]:
    """Those that have executed some of the runs."""
    found: set[str] = set()
    for run in asked:
        with runtime.store.begin(run.tenant_id, read_only=True) as tx:
            found |= {attempt.worker for attempt in tx.list_attempts(run.id)}
    return found


def _assert_in_order(runtime: Runtime, asked: list[Run], undisturbed: int) -> None:
    """Each tenant's runs by priority and age; and tenants in turn, until one loses slots to a kill."""
    admitted: list[tuple[datetime, Run]] = []
    for run in asked:
        with runtime.store.begin(run.tenant_id, read_only=True) as tx:
            (at,) = [one.at for one in tx.list_events(run.id) if one.to_status == "Queued"]
        admitted.append((at, run))
    order = [run for _, run in sorted(admitted, key=itemgetter(0))]
    for tenant in TENANTS:
        mine = [run for run in order if run.tenant_id == tenant]
        assert mine == sorted(mine, key=lambda run: (run.priority.rank, run.requested_at))
    turns = [run.tenant_id for run in order[:undisturbed]]
    for at in range(0, undisturbed - 1, 2):
        assert set(turns[at : at + 2]) == set(TENANTS), turns
