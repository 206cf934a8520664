"""Delete the bodies of artifacts that have expired, once nothing else refers to them.

A body is deleted in two steps, at least an hour apart. First it is marked, where no row refers to it
and nothing that a run may still need names it. Later it is looked for again, and deleted while its
mark is held. Whoever came upon the body in between has taken the mark away (``spared_bodies``), and
whoever had come upon it before has written their row by then: a request takes seconds, and while a
job has run since before the mark, nothing that is marked is deleted.

So any number of sweeps may be at it at once, and a killed one leaves nothing that the next one does
not finish: a body that is gone while its mark still stands is deleted once more, which is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.errors import ArtifactNotFoundError, CorruptArtifactError
from factory_runtime.domain.hold import DyingBody
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import ArtifactStorage, Clock, RunStore
from factory_runtime.services.audit import SYSTEM, leave_audit
from factory_runtime.services.repair import each
from factory_runtime.services.spared_bodies import LOOKED_FOR

GRACE = timedelta(hours=1)
"""Between a body's mark and its deletion. Who began to read it before has it by then, too."""

EVERY = timedelta(hours=1)

_PAGE = 200
_RUNS_AT_ONCE = 100
_MOST_MARKED = 10_000
"""Of one tenant at once; the others come when these are deleted."""

_MANY_READ = 20_000
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LOCK = "artifact-sweep"


@dataclass(frozen=True, slots=True)
class SweptBodies:
    """What a sweep did.

    Attributes:
        marked: bodies that nothing refers to any more.
        deleted: bodies that had been marked long enough.
    """

    marked: int = 0
    deleted: int = 0


@dataclass
class ArtifactSweeper:
    """Sweeps artifacts, again and again.

    Attributes:
        storage: where the bodies are deleted.
    """

    store: RunStore
    storage: ArtifactStorage
    clock: Clock
    _read: dict[tuple[str, str], frozenset[str]] = field(
        default_factory=dict[tuple[str, str], frozenset[str]]
    )

    def sweep(self) -> SweptBodies:
        """Sweep all tenants now.

        Raises:
            StoreUnavailableError: the store does not answer; what was deleted stays so.
        """
        return self._all(self._tenants())

    def sweep_if_due(self) -> SweptBodies:
        """Likewise, but no tenant that anybody has swept within the hour."""
        return self._all(filter(self._is_due, self._tenants()))

    def _tenants(self) -> tuple[str, ...]:
        return self.store.tenants_of_expired_artifacts(self.clock.now())

    def _is_due(self, tenant_id: str) -> bool:
        now = self.clock.now()
        with self.store.begin(tenant_id, durable=False) as tx:
            # Never unlocked: it says until when it was done.
            return tx.try_lock(_LOCK, new_id("sweep"), now, now + EVERY)

    def _all(self, tenants: Iterable[str]) -> SweptBodies:
        marked = deleted = 0

        def sweep_one(tenant_id: str) -> int:
            nonlocal marked, deleted
            deleted += self._delete_marked(tenant_id)
            marked += self._mark(tenant_id)
            return 0

        each(tenants, sweep_one)
        return SweptBodies(marked, deleted)

    def _mark(self, tenant_id: str) -> int:
        now, named, marked = self.clock.now(), None, 0
        after: Artifact | None = None
        while True:
            with self.store.begin(tenant_id, read_only=True) as tx:
                page = tx.expired_artifacts(now, _PAGE, after=after)
                full = tx.count_dying() >= _MOST_MARKED
            if not page or full:
                return marked
            after = page[-1]
            digests = {one.sha256 for one in page if one.sha256 is not None}
            named = self._named(tenant_id) if named is None else named
            free = self._unreferred(tenant_id, digests - named, now)
            with self.store.begin(tenant_id, durable=False) as tx:
                before = tx.count_dying()
                tx.mark_dying(free, now)
                marked += tx.count_dying() - before

    def _delete_marked(self, tenant_id: str) -> int:
        """Those that were marked long enough ago, if nobody works on what was begun before."""
        now = self.clock.now()
        until, deleted, named = now - GRACE, 0, None
        after: DyingBody | None = None
        while True:
            with self.store.begin(tenant_id, read_only=True) as tx:
                begun = tx.oldest_attempt()
                if begun is not None:
                    until = min(until, begun - LOOKED_FOR)
                page = tx.dying_bodies(_PAGE, until=until, after=after)
            if not page:
                return deleted
            after = page[-1]
            named = self._named(tenant_id) if named is None else named
            digests = {one.digest for one in page}
            free = self._unreferred(tenant_id, digests - named, now)
            if referred := digests - free:
                with self.store.begin(tenant_id) as tx:
                    tx.take_mark(sorted(referred))
            deleted += sum(self._delete(one) for one in page if one.digest in free)

    def _delete(self, mark: DyingBody) -> int:
        now = self.clock.now()
        with self.store.begin(mark.tenant_id) as tx:
            if tx.lock_dying(mark.digest) != mark:
                return 0  # somebody came upon it meanwhile, or another sweep was quicker
            if tx.kept_digests([mark.digest], now):
                return 0
            self.storage.delete(mark.tenant_id, mark.digest)
            of = tx.note_body_deleted(mark.digest, now)
            tx.take_mark([mark.digest])
            detail = {"artifacts": list(of[:_PAGE])}
            leave_audit(tx, SYSTEM, "artifact.delete", mark.digest, detail, now)
        return 1

    def _unreferred(
        self, tenant_id: str, digests: Collection[str], now: datetime
    ) -> frozenset[str]:
        left = frozenset(digests)
        with self.store.begin(tenant_id, read_only=True) as tx:
            if left:
                left -= tx.kept_digests(left, now)
            if left:
                left -= tx.referred_digests(left)
        return left

    def _named(self, tenant_id: str) -> frozenset[str]:
        """All digests that stand in what runs that may go on have: in rows and in bodies."""
        found, after = set[str](), None
        while True:
            with self.store.begin(tenant_id, read_only=True) as tx:
                part = tx.named_by_living_runs(_RUNS_AT_ONCE, after=after)
            found |= part.named | part.bodies
            for digest in part.bodies:
                found |= self._named_in(tenant_id, digest)
            if part.last is None:
                return frozenset(found)
            after = part.last

    def _named_in(self, tenant_id: str, digest: str) -> frozenset[str]:
        """What a body names: a plan its sources. It never changes, and so is read once."""
        if (tenant_id, digest) not in self._read:
            try:
                text = self.storage.read(tenant_id, digest)
            except (ArtifactNotFoundError, CorruptArtifactError):
                return frozenset()  # it may be restored
            if len(self._read) >= _MANY_READ:
                self._read.clear()
            found = frozenset(one.decode() for one in _DIGEST.findall(text))
            self._read[tenant_id, digest] = found
        return self._read[tenant_id, digest]
