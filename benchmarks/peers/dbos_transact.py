"""The fan-out in DBOS Transact, in both ways that its documentation shows.

*Steps*: one workflow whose steps run side by side on threads, each result checkpointed. *Queue*:
every job is a workflow of its own on a durable queue, which other processes could share; it has no
limit of concurrency, because its worker looks once a second for what to start next.
"""

# pyright: basic, reportMissingImports=false
# DBOS is installed in the peers' own environment only, not where types are checked.

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dbos import DBOS, DBOSConfig

from benchmarks.peers.fan_out import LAST, ROOT, WIDTH, FanOut, Tool

PACKAGE = "dbos"

_QUEUE = "jobs"


@DBOS.step()
def job_step(name: str) -> str:
    """One job as a step of a workflow."""
    return FanOut.from_environment().run_job(name)


@DBOS.step()
async def job_step_on_a_thread(name: str) -> str:
    """The same beside others; its place among the steps is fixed before its thread starts."""
    return await asyncio.to_thread(FanOut.from_environment().run_job, name)


@DBOS.workflow()
async def steps_side_by_side() -> int:
    """The fan-out as the steps of one workflow."""
    await job_step_on_a_thread(ROOT)
    middle = FanOut.from_environment().middle
    free = asyncio.Semaphore(WIDTH)

    async def in_turn(name: str) -> str:
        async with free:
            return await job_step_on_a_thread(name)

    done = await asyncio.gather(*(in_turn(name) for name in middle))
    await job_step_on_a_thread(LAST)
    return len(done)


@DBOS.workflow()
def job_workflow(name: str) -> str:
    """One job as a workflow."""
    return job_step(name)


@DBOS.workflow()
def workflows_on_a_queue() -> int:
    """The fan-out as workflows on a queue."""
    job_step(ROOT)
    middle = FanOut.from_environment().middle
    handles = [DBOS.enqueue_workflow(_QUEUE, job_workflow, name) for name in middle]
    done = [handle.get_result() for handle in handles]
    job_step(LAST)
    return len(done)


class _Dbos:
    def __init__(self, *, queue: bool) -> None:
        self._queue = queue

    def run(self) -> int:
        if self._queue:
            return DBOS.start_workflow(workflows_on_a_queue).get_result()
        return asyncio.run(steps_side_by_side())

    def recover(self) -> int:
        # DBOS.launch() has taken up every open workflow of this executor by itself.
        names = [steps_side_by_side.__qualname__, workflows_on_a_queue.__qualname__]
        (workflow,) = DBOS.list_workflows(name=names)
        return DBOS.retrieve_workflow(workflow.workflow_id).get_result()


@contextmanager
def opened_steps(folder: Path, url: str | None) -> Generator[Tool]:
    """DBOS with the steps of one workflow; ``url`` None is its default, a SQLite file."""
    with _launched(folder, url):
        yield _Dbos(queue=False)


@contextmanager
def opened_queue(folder: Path, url: str | None) -> Generator[Tool]:
    """DBOS with a queue of workflows; ``url`` None is its default, a SQLite file."""
    with _launched(folder, url):
        DBOS.register_queue(_QUEUE)
        yield _Dbos(queue=True)


@contextmanager
def _launched(folder: Path, url: str | None) -> Generator[None]:
    url = url or f"sqlite:///{folder / 'dbos.sqlite'}"
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": url,
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()
