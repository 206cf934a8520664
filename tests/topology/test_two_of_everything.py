"""Two of everything, and one of each killed: every run ends once, under one cap and in one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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


def test_of_two_of_everything_one_of_each_may_be_killed(site: Production, tmp_path: Path):
    _kill_one_of_each(site, tmp_path, runs=20)


@pytest.mark.soak
def test_of_two_of_everything_one_of_each_may_be_killed_at_length(site: Production, tmp_path: Path):
    _kill_one_of_each(site, tmp_path, runs=200)


def _kill_one_of_each(site: Production, folder: Path, runs: int) -> None:
    touched, runtime = folder / "touched", site.runtime(CAP)
    _write_template(site, touched)
    asked = [_ask(runtime, number) for number in range(runs)]
    api, workers = site.parts[2], [site.start("worker") for _ in range(2)]
    site.until(lambda: all("started!" in one.log for one in workers), "the workers are up")
    dispatchers = [site.start("dispatcher") for _ in range(2)]
    most = 0

    def ended(share: float) -> bool:
        nonlocal most
        most = max(most, len(runtime.store.running_runs()))
        return len(lines_of(touched)) >= share * runs

    for share, victim in ((0.2, workers[0]), (0.4, api), (0.6, dispatchers[0])):
        site.until(lambda share=share: ended(share), f"{share:.0%} of the runs are done", 300)
        victim.kill()
    site.until(lambda: ended(1) and all(_now(runtime, run).ended for run in asked), "all end", 600)

    assert {_now(runtime, run).status for run in asked} == {RunStatus.SUCCEEDED}
    assert Counter(lines_of(touched)) == Counter(f"{run.id}:touch" for run in asked)
    assert most == CAP
    assert len(_processes(runtime, asked)) > CAP // len(workers), "one worker did it all"
    _assert_in_order(runtime, asked)


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


def _assert_in_order(runtime: Runtime, asked: list[Run]) -> None:
    """Tenants in turn, and each one's runs by priority and age."""
    queued: list[tuple[object, Run]] = []
    for run in asked:
        with runtime.store.begin(run.tenant_id, read_only=True) as tx:
            at = [event.at for event in tx.list_events(run.id) if event.to_status == "Queued"]
        assert len(at) == 1
        queued.append((at[0], run))
    order = [run for _, run in sorted(queued, key=lambda one: str(one[0]))]
    ranked = sorted(asked, key=lambda run: (run.priority.rank, run.requested_at))
    for tenant in TENANTS:
        mine = [run.id for run in order if run.tenant_id == tenant]
        assert mine == [run.id for run in ranked if run.tenant_id == tenant]
    turns = [run.tenant_id for run in order]
    assert all(set(turns[at : at + 2]) == set(TENANTS) for at in range(0, len(turns), 2))
