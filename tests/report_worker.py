"""A process that goes on with a run of a report, and kills itself in the middle of one job.

Arguments: the store's URL, the folder, the run, and the name of the job.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from factory_runtime.ports import StoredBody
from factory_runtime.run_store import open_run_store
from factory_runtime.services.attempt import AttemptContext
from factory_runtime.settings import Settings
from tests.builders import TENANT
from tests.reports import ReportFactory


def main(url: str, folder: str, run_id: str, step: str) -> None:
    factory = ReportFactory(Path(folder), open_run_store(url), data_hosts=Settings().data_hosts)
    with factory.store.begin(TENANT, read_only=True) as tx:
        run = tx.get_run(run_id)
    factory.clock.at = run.requested_at
    walk = factory.take_up(run, f"flow-{run_id}")
    while ready := factory.ready(walk):
        if ready[0] == step:
            _die_within(factory, step)
        factory.finish(walk, ready[0])


def _die_within(factory: ReportFactory, step: str) -> None:
    """While its body is stored; the analysis, once its first checkpoint is there."""
    if step != "analyse":
        put = factory.storage.put

        def stored(*arguments: Any) -> StoredBody:
            put(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        factory.storage.put = stored
        return
    save = AttemptContext.save_checkpoint

    def checkpointed(self: AttemptContext, state: Any) -> None:
        save(self, state)
        os.kill(os.getpid(), signal.SIGKILL)

    AttemptContext.save_checkpoint = checkpointed


if __name__ == "__main__":
    main(*sys.argv[1:])
