"""Processes that use one store at once, forked by one that has imported what they need.

For each line of its standard input, an order, it writes a line: how they ended, what they said.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import SqlRunStore, open_run_store
from tests.builders import a_run, after

Work = Callable[[str, Callable[[], object]], Any]
"""Given the store's URL, and what to call to go on together with the others."""


def admit_one(store: SqlRunStore, cap: int) -> str | None:
    """What a dispatcher does: the run it gave a slot to, or None where none is free or wanted."""
    with store.begin_dispatch() as dispatch:
        if len(dispatch.holders()) >= cap:
            return None
        for key in dispatch.waiting_runs(after(9), limit=1):
            tx = dispatch.of_tenant(key.tenant_id)
            run = tx.lock_run(key.run_id)
            tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1), admitted_at=after(1)))
            return run.id
        return None


def open_it(url: str, together: Callable[[], object]) -> Any:
    together()
    return list(open_run_store(url).running_runs())


def add_runs(url: str, together: Callable[[], object]) -> Any:
    store = open_run_store(url)
    together()
    for _ in range(20):
        with store.begin("acme") as tx:
            tx.add_run(a_run())


def dispatch(url: str, together: Callable[[], object]) -> Any:
    store = open_run_store(url)
    together()
    admitted: list[str] = []
    while run_id := admit_one(store, 7):
        admitted.append(run_id)
    return admitted


WORKS: dict[str, Work] = {"open": open_it, "add-runs": add_runs, "dispatch": dispatch}


def main() -> None:
    import alembic.command  # pyright: ignore[reportUnusedImport] # noqa: F401 - or each imports it

    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(f"{json.dumps(_at_once(**order))}\n")
        sys.stdout.flush()


def _at_once(work: str, url: str, count: int) -> dict[str, Any]:
    forks = multiprocessing.get_context("fork")
    together = forks.Barrier(count, timeout=100)
    said = forks.SimpleQueue()

    def do() -> None:
        said.put(WORKS[work](url, together.wait))

    children = [forks.Process(target=do) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    answers: list[Any] = []
    while not said.empty():
        answers.append(said.get())
    return {"codes": [child.exitcode for child in children], "said": answers}


if __name__ == "__main__":
    main()
