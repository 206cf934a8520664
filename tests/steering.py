"""What people do to runs: by our own services, and in Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from factory_runtime.domain.run import Run
from factory_runtime.services.end_run import cancel_run
from tests.executors import Site


def steer(site: Site, act: Callable[..., Run], run: Run) -> Run:
    return act(site.runtime.store, site.runtime.clock, run.tenant_id, run.id, "tester")


def by_service(site: Site, run: Run) -> None:
    steer(site, cancel_run, run)


def in_prefect(site: Site, run: Run) -> None:
    """As Prefect's UI does: its server refuses it for a flow run that has ended."""
    body = {"state": {"type": "CANCELLING"}}
    site.server.ask("POST", f"/flow_runs/{site.run(run).flow_run_id}/set_state", body)


def by_force_in_prefect(site: Site, run: Run) -> None:
    site.server.force(str(site.run(run).flow_run_id), "CANCELLED")


def settle(site: Site, runs: Iterable[Run]) -> None:
    """Each at its own pace: one after the other, each would wait for a sweep of its own."""
    with ThreadPoolExecutor() as pool:
        for settled in [pool.submit(site.settle, run) for run in runs]:
            settled.result()
