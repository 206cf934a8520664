"""Runs with many jobs at once."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from factory_runtime.domain.run import RunStatus
from tests.executors import Site

WIDTH = 40


def test_the_first_jobs_end_before_prefect_has_prepared_the_last(site: Site) -> None:
    each = f"${{{{ {[f'item-{number}' for number in range(WIDTH)]} }}}}"
    site.work("wide", f'name: one, type: sleep, each: "{each}", with: {{seconds: 0}}')
    run = site.request("wide", "wide")
    site.execute()
    ended = site.until_status(run, RunStatus.SUCCEEDED)
    wanted = {
        "flow_runs": {"id": {"any_": [ended.flow_run_id]}},
        "sort": "ID_DESC",
        "limit": 200,
    }

    def prepared() -> list[str]:
        time.sleep(0.3)  # asked all the time, the server has time for little else
        found: list[Any] = site.server.ask("POST", "/task_runs/filter", wanted)
        return [one["start_time"] for one in found if one["start_time"]]

    site.until(lambda: len(prepared()) == WIDTH, "Prefect has written every task run down")
    with site.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        over = [attempt.completed_at for attempt in tx.list_attempts(run.id)]
    assert len(over) == WIDTH
    last = max(datetime.fromisoformat(at) for at in prepared())
    assert min(at for at in over if at is not None) < last
