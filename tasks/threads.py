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

# asyncio's own pool has few threads on small machines, and Prefect uses it too.
_POOL = ThreadPoolExecutor(max_workers=32, thread_name_prefix="factory-job")

RENDERS = max(2, os.cpu_count() or 2)
"""How many render children work at once in this process."""


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run blocking work on a thread of ours, in the caller's context (Prefect's run, its logs)."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_POOL, partial(copy_context().run, work, *args))
