"""A process that takes a run with an http-request up and goes on with it. Made to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from factory_runtime.run_store import open_run_store
from tests.builders import TENANT
from tests.requesting import may_send_to, on_disk


def main(url: str, folder: str, run_id: str, host: str) -> None:
    factory = on_disk(Path(folder), open_run_store(url))
    may_send_to(factory, host)
    with factory.store.begin(TENANT, read_only=True) as tx:
        run = tx.get_run(run_id)
    factory.drive(factory.take_up(run, f"flow-{run_id}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
