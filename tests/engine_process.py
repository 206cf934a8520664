"""Executes flow runs as Prefect's engine does: ``python -m tests.engine_process ID…``.

One after the other in one process; each is told by the environment, as a worker tells the process
that it starts.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, cast
from uuid import UUID

from prefect.exceptions import Abort
from prefect.flow_engine import load_flow_and_flow_run, run_flow

from factory_runtime.telemetry.tracing import flush_traces


def main() -> None:
    for flow_run_id in sys.argv[1:]:
        os.environ["PREFECT__FLOW_RUN_ID"] = flow_run_id
        flow_run, flow = load_flow_and_flow_run(UUID(flow_run_id))
        try:
            asyncio.run(cast("Any", run_flow(flow, flow_run=flow_run, return_type="state")))
        except Abort as left:
            sys.stderr.write(f"{flow_run_id}: {left}\n")
    flush_traces()
    os._exit(0)  # Prefect's threads would wait for a server that goes before them


if __name__ == "__main__":
    main()
