"""One attempt to execute a run, in a process of its own that may be told where to die.

Forked from a server that has imported all of this, and nothing that minds being forked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import traceback
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import connection, parent_process

from deployments.dispatcher import Dispatcher
from deployments.prove.people import see_run
from deployments.prove.points import Moment
from deployments.prove.sandbox import Errand
from deployments.prove.watched import Watch, WatchedRuntime
from factory_runtime.bootstrap import open_runtime
from factory_runtime.ports import Clock
from factory_runtime.services.sweep import sweep
from flows.hooks import drain, learn, share_runtime
from tasks.threads import in_thread

_LOOK_AGAIN = 0.02
_A_MINUTE = timedelta(minutes=1)


def walk(errand: Errand, told: connection.Connection) -> None:
    """Sweep, take the run up and see it to its end, or die on the way; tell of every moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    _end_with_parent()
    with errand.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    code = 0
    try:
        _walk(errand, told)
    except BaseException:
        traceback.print_exc()
        code = 1
    told.close()
    os._exit(code)  # Prefect's threads would wait for what nobody needs any more


def _walk(errand: Errand, told: connection.Connection) -> None:
    logging.basicConfig(level=logging.INFO)
    inner = open_runtime(errand.settings)
    lock = threading.Lock()
    watch = Watch(partial(_tell, errand.trap, told, lock))
    runtime = WatchedRuntime(inner.settings, inner.clock, inner=inner, watch=watch)
    sweep(runtime.store, runtime.clock)
    asyncio.run(_serve(runtime, errand))


def _tell(
    trap: Moment | None, told: connection.Connection, lock: threading.Lock, moment: Moment
) -> None:
    if trap is not None and moment != trap:
        return
    with lock:
        told.send(moment)
        if trap is not None:
            os.kill(os.getpid(), signal.SIGKILL)


async def _serve(runtime: WatchedRuntime, errand: Errand) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(Dispatcher(runtime).serve(stop, lambda: True))
    # Looked at again and again: the run's row has no event to wait for.
    while not serving.done() and not await in_thread(_has_ended, runtime, errand):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN)
    stop.set()
    await serving
    # Prefect gets some seconds to write the end of a flow run down itself. Whoever would have is
    # dead or done: this looks as somebody would in a minute.
    share_runtime(replace(runtime, clock=_Later(runtime.clock)))
    await drain()
    await learn()


class _Later:
    """A clock that is ahead of another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + _A_MINUTE


def _has_ended(runtime: WatchedRuntime, errand: Errand) -> bool:
    # Beside what is watched: people are no part of the process that dies.
    return see_run(runtime.inner, errand.tenant_id, errand.run_id).ended


def _end_with_parent() -> None:
    """Die when the process that asked for this one does, however it dies."""
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
