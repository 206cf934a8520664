"""Artifact storage in which whoever comes upon a body spares it from the sweep."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import BinaryIO

from factory_runtime.domain.errors import TransientError
from factory_runtime.ports import ArtifactStorage, RunStore, StoredBody

LOOKED_FOR = timedelta(minutes=1)
"""How long a look at the marks is good. What was marked since is not deleted for much longer."""

_MANY = 100_000
"""More marks than a sweep leaves."""


class SparingStorage:
    """Implements ``ArtifactStorage`` before another one. Safe to use from many threads.

    Who stores a body, or finds that it is there, is about to write a row that refers to it. The sweep
    cannot see that row yet: so they take its mark away, which waits for a sweep that is just deleting
    the body, and then look whether it is there. ``services.sweep_artifacts`` has the other half.
    """

    def __init__(
        self,
        storage: ArtifactStorage,
        find_store: Callable[[], RunStore | None],
        looked_for: timedelta = LOOKED_FOR,
    ) -> None:
        self._storage = storage
        self._find_store = find_store
        self._looked_for = looked_for.total_seconds()
        self._marks: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        source = io.BytesIO(body) if isinstance(body, bytes) else body
        # Before it is stored: a mark that is gone by then has taken nothing that was stored here.
        marked = self._marked(tenant_id)
        start = source.tell() if marked and source.seekable() else None
        stored = self._storage.put(tenant_id, source)
        if stored.digest not in marked:
            return stored
        self._spare(tenant_id, stored.digest)
        if self._storage.exists(tenant_id, stored.digest):
            return stored
        if start is None:
            raise TransientError(f"the body {stored.digest} was deleted while it was stored again")
        source.seek(start)
        return self._storage.put(tenant_id, source)

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        return self._storage.open(tenant_id, digest)

    def read(self, tenant_id: str, digest: str) -> bytes:
        return self._storage.read(tenant_id, digest)

    def verify(self, tenant_id: str, digest: str) -> bool:
        self._spare_if_marked(tenant_id, digest)
        return self._storage.verify(tenant_id, digest)

    def exists(self, tenant_id: str, digest: str) -> bool:
        self._spare_if_marked(tenant_id, digest)
        return self._storage.exists(tenant_id, digest)

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        return self._storage.link(
            tenant_id, digest, until=until, disposition=disposition, media_type=media_type
        )

    def delete(self, tenant_id: str, digest: str) -> None:
        self._storage.delete(tenant_id, digest)

    def _spare_if_marked(self, tenant_id: str, digest: str) -> None:
        if digest in self._marked(tenant_id):
            self._spare(tenant_id, digest)

    def _spare(self, tenant_id: str, digest: str) -> None:
        store = self._find_store()
        if store is not None:
            with store.begin(tenant_id) as tx:
                tx.take_mark([digest])
        with self._lock:
            looked, marks = self._marks[tenant_id]
            self._marks[tenant_id] = looked, marks - {digest}

    def _marked(self, tenant_id: str) -> frozenset[str]:
        """The marks of a moment ago."""
        now = time.monotonic()
        looked, marks = self._marks.get(tenant_id, (0.0, frozenset[str]()))
        if tenant_id in self._marks and now - looked < self._looked_for:
            return marks
        store = self._find_store()
        if store is None:
            return frozenset()
        with store.begin(tenant_id, read_only=True) as tx:
            marks = frozenset(one.digest for one in tx.dying_bodies(_MANY))
        with self._lock:
            self._marks[tenant_id] = now, marks
        return marks
