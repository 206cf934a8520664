"""Ask the memory on behalf of a job: for no longer than a few seconds, and never to its harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta

from factory_runtime.domain.errors import FactoryError, InputError
from factory_runtime.domain.memory import Collection as MemoryCollection
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.ports import JobFacts, RecallQuery

Recall = Callable[[str, RecallQuery], tuple[Recalled, ...]]
"""Searches a tenant's memory; it may raise anything, and may hang."""

PATIENCE = timedelta(seconds=10)
"""The first search of a process opens the index and loads the model, for seconds."""

MOST = 100
"""That a job is shown at once."""

_LOOK = 0.1
_AT_ONCE = 8
"""Threads that searches of a process may take: one that hangs keeps its own."""

_TROUBLE = 500
"""Characters of what went wrong that people are told."""

_room = threading.BoundedSemaphore(_AT_ONCE)


def query_of(facts: JobFacts, text: str, kinds: Collection[Kind] | None, k: int) -> RecallQuery:
    """What a job looks for: within its project's sight, and beside what its own run taught.

    Raises:
        InputError: there is no such kind, or ``k`` is not 1 to ``MOST``.
    """
    if not 1 <= k <= MOST:
        raise InputError(f"{k} memories cannot be recalled", hint=f"ask for 1 to {MOST}")
    try:
        wanted = None if kinds is None else tuple(Kind(kind) for kind in kinds)
    except ValueError as exc:
        raise InputError(str(exc), hint=f"there are: {', '.join(Kind)}") from exc
    return RecallQuery(
        text=text,
        collections=tuple(MemoryCollection),
        kinds=wanted,
        projects=(facts.project_id,),
        limit=k,
        exclude_run_ids=(facts.run_id,),
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What the memory had to say.

    Attributes:
        trouble: why it said nothing, for people; None where it did.
    """

    found: tuple[Recalled, ...] = ()
    trouble: str | None = None


def ask_memory(
    recall: Recall | None, tenant_id: str, query: RecallQuery, stopped: threading.Event
) -> Told:
    """What a search finds; nothing, and why, where it fails or does not end in ``PATIENCE``.

    Args:
        recall: None where there is no memory.
        tenant_id: whose.
        query: what to look for.
        stopped: once it is set, nobody wants to know any more.
    """
    if recall is None:
        return Told(trouble="there is no memory here")
    if not query.text.strip():
        return Told(trouble="there is nothing to look for")
    until = time.monotonic() + PATIENCE.total_seconds()
    while not _room.acquire(timeout=_LOOK):
        if stopped.is_set() or time.monotonic() >= until:
            return Told(trouble="too many searches do not come to an end")
    answer = Future[tuple[Recalled, ...]]()
    context = copy_context()

    def search() -> None:
        try:
            answer.set_result(context.run(recall, tenant_id, query))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            _room.release()

    try:
        # A daemon: a search that hangs does not keep the process from ending.
        threading.Thread(target=search, name="recall", daemon=True).start()
    except RuntimeError as error:
        _room.release()
        return Told(trouble=str(error))
    while not answer.done() and not stopped.is_set() and time.monotonic() < until:
        wait((answer,), _LOOK)
    return _told(answer)


def _told(answer: Future[tuple[Recalled, ...]]) -> Told:
    if not answer.done():
        return Told(trouble=f"the memory did not answer in {PATIENCE.total_seconds():g} s")
    error = answer.exception()
    match error:
        case None:
            return Told(answer.result())
        case FactoryError():
            return Told(trouble=str(error)[:_TROUBLE])
        case _:  # a broken index raises anything
            return Told(trouble=f"{type(error).__name__}: {error}"[:_TROUBLE])
