"""Where blocking work runs, so that the event loop, and Prefect's heartbeats on it, never wait."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

JOBS = 32
"""How many jobs are at work at once in this process."""

# asyncio's own pool has few threads on small machines, and Prefect uses it too. Heartbeats, cancels
# and ends have threads of their own: they must not wait for jobs. A job that does not hear that its
# time is up keeps its thread, so there are more than may be at work.
_JOBS = ThreadPoolExecutor(max_workers=2 * JOBS, thread_name_prefix="factory-job")
_POOL = ThreadPoolExecutor(max_workers=32, thread_name_prefix="factory")
# One: a Prefect that answers slowly holds up nothing but what is to be sent there.
_SENDER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="factory-sender")

RENDERS = max(2, os.cpu_count() or 2)
"""How many render children work at once in this process."""


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run blocking work on a thread of ours, in the caller's context (Prefect's run, its logs)."""
    return await _in(_POOL, work, *args)


async def in_job_thread(work: Callable[..., T], *args: Any) -> T:
    """Likewise, for what a job does: it may take long."""
    return await _in(_JOBS, work, *args)


def on_sender_thread(work: Callable[..., object], *args: Any) -> None:
    """Have what is to be sent elsewhere sent soon; nobody waits, and nobody hears of its errors."""
    _SENDER.submit(work, *args)


async def _in(pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, partial(copy_context().run, work, *args))
