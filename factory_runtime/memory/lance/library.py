"""LanceDB and Arrow, imported with the first use, and a thread that waits for their answers.

Neither library has types that a strict checker can read.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from factory_runtime.domain.errors import MemoryUnavailableError

Answer = TypeVar("Answer")

INDEX_CACHE_BYTES = 256 * 1024 * 1024
PATIENCE_SECONDS = 30
"""A run may be waiting for a search; storage that hangs is not waited for any longer."""

METADATA_CACHE_BYTES = 64 * 1024 * 1024

_first_used_by: int | None = None


def arrow() -> Any:
    """The library."""
    return import_module("pyarrow")


def lancedb() -> Any:
    """The library.

    Raises:
        MemoryUnavailableError: this process was forked off one that used it. LanceDB's own threads
            do not live on in it, and the first call would crash it.
    """
    global _first_used_by
    # It warns on the user's terminal of what is in order, like a table that is about to be made.
    os.environ.setdefault("LANCEDB_LOG", "error")
    library = import_module("lancedb")
    _first_used_by = _first_used_by or os.getpid()
    if _first_used_by != os.getpid():
        raise MemoryUnavailableError(
            "LanceDB cannot be used in a forked process",
            hint="start the process by spawn or forkserver, or fork before the memory is used",
        )
    return library


@cache
def session() -> Any:
    """What all connections of the process keep of indexes and manifests: by default 7 GB each."""
    return lancedb().Session(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES)


def wait_for(question: Coroutine[Any, Any, Answer]) -> Answer:
    """Its answer; a caller may be in an event loop of its own, so it is asked in another thread.

    Raises:
        MemoryUnavailableError: there is none within ``PATIENCE_SECONDS``.
    """
    asked = asyncio.run_coroutine_threadsafe(question, _loop())
    try:
        return asked.result(PATIENCE_SECONDS)
    except TimeoutError as exc:
        asked.cancel()
        raise MemoryUnavailableError(
            f"the memory has not answered within {PATIENCE_SECONDS} s", hint="try again later"
        ) from exc


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="memory-search", daemon=True).start()
    return loop
