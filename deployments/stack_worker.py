"""The warm worker of `factory up`: ``python -m deployments.stack_worker``, a child of the executor.

It is Prefect's worker of the type ``factory`` for the pool ``factory``, with the lifeline on
standard input. The processes of a worker that is killed, or whose stack is, put down what they are
at and end by themselves.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal

from deployments.kept import ready_file
from deployments.lifeline import on_parent_gone
from factory_runtime.settings import Settings
from factory_runtime.telemetry.logs import start_logging


def main() -> None:
    """Serve until told to stop, or until the stack is gone."""
    settings = Settings()
    start_logging(settings.log_format, settings.log_level)
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    on_parent_gone(lambda: os._exit(1))
    asyncio.run(_serve(settings))
    logging.shutdown()
    # Prefect's threads would wait at exit, for minutes, for a server that has gone before them.
    os._exit(0)


async def _serve(settings: Settings) -> None:
    from deployments.worker import FactoryWorker
    from factory_runtime.orchestration.work_pool import WORK_POOL

    worker = FactoryWorker(
        settings.work_pool or WORK_POOL,
        name=f"factory-up-{os.getpid()}",
        limit=settings.warm_processes,
        create_pool_if_not_found=False,
    )

    async def tell() -> None:
        await worker.wait_until_warm()
        ready_file(settings, "worker").write_text(str(os.getpid()))

    telling = asyncio.create_task(tell())  # beside the start, which lasts until the end
    try:
        await worker.start(printer=logging.getLogger("factory.worker").info)
    finally:
        telling.cancel()


if __name__ == "__main__":
    main()
