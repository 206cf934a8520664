"""Processes that each go on with a run of a report, and kill themselves in the middle of one job.

One is forked for each line of standard input, the arguments of ``go_on`` as JSON; how it ended is a
line of standard output, below 0 by a signal.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from factory_runtime.ports import StoredBody
from factory_runtime.run_store import open_run_store
from factory_runtime.services.attempt import AttemptContext
from tests.builders import TENANT
from tests.reports import ReportFactory


def main() -> None:
    gc.freeze()
    for line in sys.stdin:
        born = os.fork()
        if born == 0:
            try:
                go_on(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(born, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def go_on(url: str, folder: str, run_id: str, step: str, data_host: str) -> None:
    factory = ReportFactory(Path(folder), open_run_store(url), data_hosts=(data_host,))
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
    main()
