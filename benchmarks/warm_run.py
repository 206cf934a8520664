"""From Accepted to Succeeded on a warm stack, with its parts, from our own records.

The stack is the one that ``factory run`` starts: another process, which polls for runs. Each round
makes ``microservice`` twice into new projects: uncached for a tenant of its own, and cached for one
that has made it before. The time of a part is the median over the rounds, so that parts of a run
need not add up to the whole; jobs that run side by side never do.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ratio import Ratio
from deployments.stack import start_stack, wait_for_stack
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings

ROUNDS = 7
INPUTS: dict[str, Any] = {"service_name": "orders", "entities": ["order"]}
LONGEST = timedelta(minutes=1)
_POLL = 0.02

Parts = dict[str, float]
"""Milliseconds of each part of one run."""

FIRST = "accepted -> first job running"
WHOLE = "accepted -> succeeded"
FIXED = "the run but for its jobs"


def main() -> tuple[Ratio, ...]:
    """Print the parts, uncached beside cached."""
    with tempfile.TemporaryDirectory(prefix="factory-bench-") as folder:
        settings = Settings(home=Path(folder))
        child = start_stack(settings, keep=False)
        try:
            api_url = wait_for_stack(settings, child, lambda _phase: None).api_url
            uncached, cached = _measure(open_runtime(settings), api_url)
        finally:
            assert child.stdin is not None
            child.stdin.close()  # it finishes and ends
            child.wait()
    print(f"microservice on a warm stack, {ROUNDS} rounds, median ms")
    print(f"  {'':<44} {'uncached':>9} {'cached':>9}")
    for part, value in uncached.items():
        print(f"  {part:<44} {value:9.0f} {cached[part]:9.0f}")
    ratios = (
        Ratio(f"warm run, s: {FIRST}", uncached[FIRST] / 1000, 0.6),
        Ratio(f"warm run, s: {WHOLE}", uncached[WHOLE] / 1000, 3.0),
        Ratio(f"warm run, s: {FIXED}", uncached[FIXED] / 1000, 0.5),
        Ratio("warm run: uncached / cached", uncached[WHOLE] / cached[WHOLE]),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


def _measure(runtime: Runtime, api_url: str) -> tuple[Parts, Parts]:
    uncached: list[Parts] = []
    cached: list[Parts] = []
    _one_run(runtime, api_url, "bench", "warm-up")
    for number in range(ROUNDS):
        uncached.append(_one_run(runtime, api_url, f"bench-{number}", "first"))
        cached.append(_one_run(runtime, api_url, "bench", f"project-{number}"))
    return _medians(uncached), _medians(cached)


def _medians(rounds: list[Parts]) -> Parts:
    return {part: statistics.median(parts[part] for parts in rounds) for part in rounds[0]}


def _one_run(runtime: Runtime, api_url: str, tenant_id: str, project_id: str) -> Parts:
    started = time.perf_counter()
    request = RunRequest(tenant_id, project_id, "microservice", INPUTS, "bench")
    run_id = request_run(runtime.desk, request).id
    parts = {"request (in the caller, before Accepted)": (time.perf_counter() - started) * 1000}
    run = _wait(lambda: _ended(runtime, tenant_id, run_id))
    if run.status is not RunStatus.SUCCEEDED:
        sys.exit(f"{run.id} is {run.status}: {run.error}")
    flow_run = _wait(lambda: _ended_flow_run(api_url, run))
    _wait(lambda: _quiet(runtime))
    return {**parts, **_parts(runtime, run, flow_run)}


def _parts(runtime: Runtime, run: Run, flow_run: dict[str, Any]) -> Parts:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        events = tx.list_events(run.id)
        jobs = tx.list_jobs(run.id)
        effects = tx.list_effects(run_id=run.id)
    moved = {event.to_status: event.at for event in events if event.step is None}
    accepted, running = moved["Validated"], moved["Running"]
    assert run.completed_at is not None
    first = min(job.started_at for job in jobs if job.started_at is not None)
    last = _latest(job.completed_at for job in jobs)
    parts = {
        WHOLE: _ms(accepted, run.completed_at),
        FIRST: _ms(accepted, first),
        FIXED: _ms(accepted, first) + _ms(last, run.completed_at),
        "dispatch: accepted -> queued": _ms(accepted, moved["Queued"]),
        "  queued -> flow run made": _ms(moved["Queued"], _time(flow_run["created"])),
        "  flow run made -> running": _ms(_time(flow_run["created"]), running),
    }
    ready = running
    for job in jobs:
        assert job.started_at is not None
        assert job.completed_at is not None
        needs = [other.completed_at for other in jobs if other.step in job.needs]
        ready = max((at for at in needs if at is not None), default=running)
        parts[f"{job.step}: ready -> claimed"] = _ms(ready, job.started_at)
        begun = [effect.intended_at for effect in effects if effect.step == job.step]
        if not begun:  # the local host offers nothing of what it would do
            whole = "  claimed -> ended".ljust(22) + f"({job.step})"
            parts[whole] = _ms(job.started_at, job.completed_at)
            continue
        publish = min(begun)  # the first effect is written down when rendering is done
        parts["  claimed -> rendered".ljust(22) + f"({job.step})"] = _ms(job.started_at, publish)
        parts["  rendered -> ended".ljust(22) + f"({job.step})"] = _ms(publish, job.completed_at)
    parts["finish: last job ended -> run closed"] = _ms(last, run.completed_at)
    parts["  run closed -> Prefect's flow run ended"] = _ms(
        run.completed_at, _time(flow_run["end_time"])
    )
    return parts


def _wait(look: Callable[[], Any]) -> Any:
    """What ``look`` gives once it gives something."""
    until = time.monotonic() + LONGEST.total_seconds()
    while (found := look()) is None:
        if time.monotonic() > until:
            sys.exit(f"nothing came of it in {LONGEST}")
        time.sleep(_POLL)
    return found


def _ended(runtime: Runtime, tenant_id: str, run_id: str) -> Run | None:
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        run = tx.get_run(run_id)
    return run if run.ended else None


def _ended_flow_run(api_url: str, run: Run) -> dict[str, Any] | None:
    flow_run = httpx.get(f"{api_url}/flow_runs/{run.flow_run_id}").json()
    return flow_run if flow_run["end_time"] is not None else None


def _quiet(runtime: Runtime) -> bool | None:
    """Whether what a run leaves to be done after it is done: it would slow the next one down."""
    soon = runtime.clock.now() + LONGEST
    return True if not runtime.store.due_messages(soon, 1) else None


def _latest(times: Iterable[datetime | None]) -> datetime:
    return max(at for at in times if at is not None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ms(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() * 1000


if __name__ == "__main__":
    main()
