"""The circuit breaker: a host that is down is left alone, but for one attempt now and then.

It is kept in the run store, for each tenant and host, so that every worker sees the same and a
restart forgets nothing. Its row comes last: call these with the run's row held, or two transactions
may wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from factory_runtime.domain.errors import HostBusyError, HostDownError
from factory_runtime.domain.records import Breaker
from factory_runtime.ports import RunTransaction

THRESHOLD = 5
"""Failures in a row that open it."""

FIRST = timedelta(seconds=15)
"""How long it is open at first; each failure beyond the threshold doubles that."""

LONGEST = timedelta(minutes=10)
"""How long it is open at most, whatever the host asked for."""

TRIAL = timedelta(seconds=30)
"""How long the one attempt that tries the host keeps the others away."""


def open_until(tx: RunTransaction, hosts: Sequence[str], now: datetime) -> datetime | None:
    """None where an attempt that needs these hosts may begin now; else when to look again.

    Where a breaker's open time has run out, the one who is told None is the one that tries: the
    others are kept away for ``TRIAL``, or until it is known what came of it. So begin the attempt
    in the same transaction.
    """
    opened = _opened(tx.find_breaker(host) for host in _in_order(hosts))
    if (later := _latest(opened, now)) is not None:
        return later  # without waiting for whoever is about to try
    opened = _opened(tx.lock_breaker(breaker.host) for breaker in opened)
    if (later := _latest(opened, now)) is not None:
        return later  # another worker was quicker
    for breaker in opened:
        tx.save_breaker(replace(breaker, open_until=now + TRIAL, changed_at=now))
    return None


def note_failure(
    tx: RunTransaction,
    hosts: Sequence[str],
    error: BaseException,
    now: datetime,
    began_at: datetime | None = None,
) -> datetime | None:
    """Count an attempt that failed because a host is down or busy; any other error says nothing.

    Returns:
        Until when nothing is asked of a host, where that is why it failed; else None.

    Args:
        tx: the transaction that records the attempt's end.
        hosts: those it needed; which one it was is not known, so it counts against all.
        error: what it failed of.
        now: when.
        began_at: of the attempt. One that began before the breaker opened (or before another
            attempt tried) tells nothing new: a hundred that fail together are not a hundred tries.
    """
    if not isinstance(error, HostBusyError) or isinstance(error, HostDownError):
        return None
    opened: list[Breaker] = []
    for host in _in_order(hosts):
        before = tx.lock_breaker(host) or Breaker(tx.tenant_id, host, 0, now)
        is_old = began_at is not None and began_at < before.changed_at
        if before.open_until is not None and is_old:
            opened.append(before)
            continue
        failures = before.failures + 1
        until = now + _pause(failures, error.retry_after) if failures >= THRESHOLD else None
        after = replace(before, failures=failures, changed_at=now, open_until=until)
        tx.save_breaker(after)
        opened += [after] if until is not None else []
    return _latest(opened, now)


def note_success(tx: RunTransaction, hosts: Sequence[str], now: datetime) -> None:
    """The hosts answer: their breakers are closed and count from 0. Mostly there is no write."""
    for host in _in_order(hosts):
        before = tx.find_breaker(host)
        if before is not None and before.failures:
            tx.save_breaker(replace(before, failures=0, changed_at=now, open_until=None))


def _in_order(hosts: Iterable[str]) -> list[str]:
    # One order for all: two that need the same hosts do not wait for each other.
    return sorted(set(hosts))


def _opened(breakers: Iterable[Breaker | None]) -> list[Breaker]:
    return [found for found in breakers if found is not None and found.open_until is not None]


def _latest(opened: Iterable[Breaker], now: datetime) -> datetime | None:
    """When the last of them may be tried; None where all may be."""
    # A time that no pause can reach was written while some clock was wrong: it says nothing.
    reach = now + 2 * LONGEST
    times = [b.open_until for b in opened if b.open_until and now < b.open_until <= reach]
    return max(times, default=None)


def _pause(failures: int, asked: timedelta | None) -> timedelta:
    doublings = min(failures - THRESHOLD, 10)
    return min(max(FIRST * 2**doublings, asked or FIRST), LONGEST)
