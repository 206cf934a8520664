"""Have a language model write about what was learned: in the background, and within a budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.errors import (
    FactoryError,
    MemoryUnavailableError,
    PermanentError,
    SettingsError,
    TransientError,
)
from factory_runtime.domain.memory import Memory
from factory_runtime.domain.prose import WRITTEN_ABOUT, prose_of, told_of
from factory_runtime.domain.tally import ASKED, ENDPOINT, FAILED, Tally
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.ports.summariser import Summariser
from factory_runtime.services.memory_lock import PROSE, Held, try_memory

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

    @property
    def asked(self) -> int:
        return self.done + self.failed


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
        """Write about the newest memories of every tenant, but no more than ``MOST`` of all.

        Nothing that the model or its endpoint does is raised. After an endpoint did not answer, no
        other tenant asks it in the same drain.
        """
        until = time.monotonic() + _LONGEST_SECONDS
        written = Written()
        try:
            summariser = self._open()
        except SettingsError as error:
            _LOG.error("nobody can write about memories: %s", error.explain())
            return written
        tenants = sorted(self._store.remembering_tenants(), key=self._asked_today)
        for served, tenant_id in enumerate(tenants):
            share = -(-(MOST - written.asked) // (len(tenants) - served))
            did, answers = self._write_for(tenant_id, summariser, share, until)
            written = Written(written.done + did.done, written.failed + did.failed)
            if not answers or written.asked >= MOST or time.monotonic() >= until:
                break
        return written

    def _asked_today(self, tenant_id: str) -> int:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return _times(tx, ASKED, self._clock.now())

    def _write_for(
        self, tenant_id: str, summariser: Summariser, most: int, until: float
    ) -> tuple[Written, bool]:
        """What was done for a tenant, and whether the endpoint is worth asking for others."""
        with try_memory(self._store, self._clock, tenant_id, self._worker, PROSE) as held:
            if held is None:
                return Written(), True  # another process is at it
            done = failed = 0
            for memory in self._due(tenant_id, most):
                if time.monotonic() >= until or not self._spend(held):
                    break
                try:
                    prose = _ask(summariser, memory)
                except FactoryError as error:
                    failed += 1
                    self._put_off(memory, error)
                    if not isinstance(error, PermanentError):
                        return Written(done, failed), False
                else:
                    done += 1
                    self._keep(memory, prose)
            return Written(done, failed), True

    def _due(self, tenant_id: str, most: int) -> tuple[Memory, ...]:
        now = self._clock.now()
        with self._store.begin(tenant_id, read_only=True) as tx:
            if _is_left_alone(tx, now):
                return ()
            return tx.memories_without_prose(WRITTEN_ABOUT, now, most)

    def _spend(self, held: Held) -> bool:
        """Count a question before it is asked; False where the day's are used up, or the lock is."""
        try:
            held.renew()
        except MemoryUnavailableError:
            return False
        with self._store.begin(held.tenant_id) as tx:
            if _times(tx, ASKED, self._clock.now()) >= self._budget:
                return False
            _count(tx, ASKED, self._clock.now())
        return True

    def _keep(self, memory: Memory, prose: str) -> None:
        with self._store.begin(memory.tenant_id) as tx:
            now = self._clock.now()
            tx.save_prose(memory, prose, now)
            if (away := tx.find_tally(ENDPOINT)) is not None and away.times:
                tx.save_tally(Tally(memory.tenant_id, ENDPOINT, 0, now))

    def _put_off(self, memory: Memory, error: FactoryError) -> None:
        _LOG.warning("there is no prose about %s for now: %s", memory.id, error)
        with self._store.begin(memory.tenant_id) as tx:
            now = self._clock.now()
            _count(tx, FAILED, now)
            # Also where the endpoint is away: this text may be why, and would be asked about first.
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
