"""Find out whether a key that somebody shows is good."""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.api_key import ApiKey, hash_of, prefix_of
from factory_runtime.ports import Clock, RunStore

_LOG = logging.getLogger("factory.keys")

KEPT = timedelta(seconds=5)
"""A key that was revoked is good nowhere any more after so long."""

_NOTED_EVERY = timedelta(minutes=1)
_MOST = 10_000
_NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class _Seen:
    key: ApiKey
    at: datetime


class KeyRing:
    """Looks keys up. One for each process; safe to use from many threads.

    A key that is good is remembered for a moment, by its hash: whatever is wrong with another, it
    takes the same look into the store and the same comparison.
    """

    def __init__(self, store: Callable[[], RunStore], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self.uses = KeyUses(store)

    def find(self, text: str) -> ApiKey | None:
        """The key that this is; None where it is none, or one that is good no longer.

        Raises:
            StoreUnavailableError: nobody can tell now.
        """
        now, digest = self._clock.now(), hash_of(text)
        seen = self._remembered(digest, now)
        if seen is None:
            self._seen.pop(digest, None)
            seen = self._look_up(text, digest, now)
        return self._good(seen, now)

    def recall(self, text: str) -> ApiKey | None:
        """Likewise, of those that were looked up a moment ago: the store is not asked."""
        now = self._clock.now()
        return self._good(self._remembered(hash_of(text), now), now)

    def _remembered(self, digest: str, now: datetime) -> _Seen | None:
        seen = self._seen.get(digest)
        # The clock of a machine may be set back: what was seen later than now counts no more.
        return seen if seen is not None and seen.at <= now < seen.at + KEPT else None

    def _good(self, seen: _Seen | None, now: datetime) -> ApiKey | None:
        if seen is None or not seen.key.is_good(now):
            return None
        self.uses.note(seen.key, now)
        return seen.key

    def _look_up(self, text: str, digest: str, now: datetime) -> _Seen | None:
        key = self._store().find_api_key(prefix_of(text))
        same = hmac.compare_digest(_NO_HASH if key is None else key.hash, digest)
        if key is None or not same or not key.is_good(now):
            return None
        if len(self._seen) >= _MOST:
            self._seen.clear()
        seen = _Seen(key, now)
        self._seen[digest] = seen
        return seen


class KeyUses:
    """Writes down when keys were used, in a thread of its own: no request waits for it."""

    def __init__(self, store: Callable[[], RunStore]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, str], datetime] = {}
        self._open: dict[tuple[str, str], datetime] = {}
        self._writer: threading.Thread | None = None

    def note(self, key: ApiKey, now: datetime) -> None:
        """Write it down soon, unless that was done within the last minute."""
        name = (key.tenant_id, key.id)
        with self._lock:
            last = self._noted.get(name) or key.last_used_at
            if last is not None and last <= now < last + _NOTED_EVERY:
                return
            if len(self._noted) >= _MOST:
                self._noted.clear()
            self._noted[name] = self._open[name] = now
            if self._writer is None:
                writer = threading.Thread(target=self._write, name="key-uses", daemon=True)
                with suppress(RuntimeError):  # no thread can be had: the next use tries again
                    writer.start()
                    self._writer = writer

    def settle(self) -> None:
        """Wait until all that was noted is written."""
        writer = self._writer
        if writer is not None:
            writer.join()

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._open:
                    self._writer = None
                    return
                (tenant_id, key_id), at = self._open.popitem()
            try:
                # Whatever is lost with the power is no loss.
                with self._store().begin(tenant_id, durable=False) as tx:
                    tx.touch_api_key(key_id, at, unless_since=at - _NOTED_EVERY)
            except Exception as error:  # of whatever kind: it must cost nobody their answer
                _LOG.warning("the use of %s is not written down: %s", key_id, error)
