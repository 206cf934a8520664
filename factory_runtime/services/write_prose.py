"""Have a language model write about what was learned: in the background, and within a budget."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from factory_runtime.domain.errors import (
    FactoryError,
    PermanentError,
    SettingsError,
    TransientError,
)
from factory_runtime.domain.memory import Memory
from factory_runtime.domain.prose import WRITTEN_ABOUT, prose_of, told_of
from factory_runtime.domain.tally import ASKED, ENDPOINT, FAILED, Tally
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.ports.summariser import Summariser
from factory_runtime.services.memory_lock import PROSE, try_memory

MOST = 20
"""Memories that one drain asks about, of all tenants together."""

_LONGEST_SECONDS = 120.0
"""No memory is asked about later than this after a drain began."""

_DAY = timedelta(days=1)
_ENDPOINT_WAITS = (timedelta(minutes=1), timedelta(hours=1))
_TEXT_WAITS = (timedelta(minutes=10), timedelta(days=7))
"""The first wait of each, and the longest: each failure doubles it."""

_LOG = logging.getLogger("factory.memory")


@dataclass(frozen=True, slots=True)
class Written:
    """What a drain did.

    Attributes:
        done: memories that have prose now.
        failed: that have none yet; it is tried again later.
    """

    done: int = 0
    failed: int = 0


class _Came(Enum):
    """Of a question."""

    DONE = auto()
    REFUSED = auto()
    AWAY = auto()


class ProseWriter:
    """Writes prose beside memories. Their facts stand without it, and nothing waits for it.

    Args:
        store: the record.
        clock: the time.
        open_: opens the model.
        budget: how often the model is asked for one tenant in a day of UTC; a try in vain counts.
        worker: who writes, for people.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        open_: Callable[[], Summariser],
        budget: int,
        worker: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._open = open_
        self._budget = budget
        self._worker = worker

    def write_some(self) -> Written:
        """Write about the newest memories, of each tenant in turn, but no more than ``MOST`` of all.

        Nothing that the model or its endpoint does is raised. After an endpoint did not answer,
        nobody asks it again in the same drain.
        """
        until = time.monotonic() + _LONGEST_SECONDS
        try:
            summariser = self._open()
        except SettingsError as error:
            _LOG.error("nobody can write about memories: %s", error.explain())
            return Written()
        line = deque(sorted(self._store.remembering_tenants(), key=self._asked_today))
        came = Counter[_Came]()
        while line and came.total() < MOST and not came[_Came.AWAY] and time.monotonic() < until:
            tenant_id = line.popleft()
            if (one := self._write_one(tenant_id, summariser)) is not None:
                came[one] += 1
                line.append(tenant_id)
        return Written(came[_Came.DONE], came[_Came.REFUSED] + came[_Came.AWAY])

    def _asked_today(self, tenant_id: str) -> int:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return _times(tx, ASKED, self._clock.now())

    def _write_one(self, tenant_id: str, summariser: Summariser) -> _Came | None:
        """What came of asking about the newest; None where there is nothing to ask now."""
        if self._due(tenant_id) is None:
            return None
        with try_memory(self._store, self._clock, tenant_id, self._worker, PROSE) as held:
            # Where another process has the lock, it is at it.
            memory = None if held is None else self._spend(tenant_id)
            if memory is None:
                return None
            try:
                prose = _ask(summariser, memory)
            except FactoryError as error:
                self._put_off(memory, error)
                return _Came.REFUSED if isinstance(error, PermanentError) else _Came.AWAY
            self._keep(memory, prose)
            return _Came.DONE

    def _due(self, tenant_id: str) -> Memory | None:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return self._next(tx)

    def _spend(self, tenant_id: str) -> Memory | None:
        """The memory to ask about, with the question counted: before it is asked."""
        with self._store.begin(tenant_id) as tx:
            memory = self._next(tx)
            if memory is not None:
                _count(tx, ASKED, self._clock.now())
            return memory

    def _next(self, tx: RunTransaction) -> Memory | None:
        now = self._clock.now()
        if _is_left_alone(tx, now) or _times(tx, ASKED, now) >= self._budget:
            return None
        return next(iter(tx.memories_without_prose(WRITTEN_ABOUT, now, 1)), None)

    def _keep(self, memory: Memory, prose: str) -> None:
        with self._store.begin(memory.tenant_id) as tx:
            tx.save_prose(memory, prose)
            if (away := tx.find_tally(ENDPOINT)) is not None and away.times:
                tx.save_tally(Tally(memory.tenant_id, ENDPOINT, 0, self._clock.now()))

    def _put_off(self, memory: Memory, error: FactoryError) -> None:
        _LOG.warning("there is no prose about %s for now: %s", memory.id, error)
        with self._store.begin(memory.tenant_id) as tx:
            now = self._clock.now()
            _count(tx, FAILED, now)
            # Also where the endpoint is away: this text may be why, and would be asked about first.
            # But of what was forgotten meanwhile, not even a digest is kept.
            if memory.text_digest in {one.text_digest for one in tx.find_memories([memory.id])}:
                _leave_alone(tx, memory.text_digest, now, _TEXT_WAITS)
            if not isinstance(error, PermanentError):
                asked = error.retry_after if isinstance(error, TransientError) else None
                _leave_alone(tx, ENDPOINT, now, _ENDPOINT_WAITS, asked)


def _ask(summariser: Summariser, memory: Memory) -> str:
    prose = prose_of(summariser.summarise(told_of(memory)))
    if not prose:
        raise PermanentError("the model says nothing that could be shown")
    return prose


def _times(tx: RunTransaction, about: str, now: datetime) -> int:
    """Today."""
    tally = tx.find_tally(about)
    return 0 if tally is None or tally.until <= now else tally.times


def _count(tx: RunTransaction, about: str, now: datetime) -> None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
    tx.save_tally(Tally(tx.tenant_id, about, _times(tx, about, now) + 1, midnight))


def _is_left_alone(tx: RunTransaction, now: datetime) -> bool:
    tally = tx.find_tally(ENDPOINT)
    return tally is not None and now < tally.until


def _leave_alone(
    tx: RunTransaction,
    about: str,
    now: datetime,
    waits: tuple[timedelta, timedelta],
    asked: timedelta | None = None,
) -> None:
    """For longer with each time, and at least for as long as was asked."""
    before = tx.find_tally(about)
    times = 1 if before is None else before.times + 1
    first, longest = waits
    wait = max(min(first * 2 ** min(times - 1, 20), longest), asked or timedelta(0))
    tx.save_tally(Tally(tx.tenant_id, about, times, now + wait))
