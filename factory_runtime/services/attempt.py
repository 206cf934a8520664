"""An attempt under way: what this process knows of it, and what its job type is lent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import CancelledError, FactoryError
from factory_runtime.domain.ids import effect_key
from factory_runtime.domain.job import Job
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import ancestors
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import RenderOrder
from factory_runtime.domain.tree import TreeFile, TreeReference, read_tree
from factory_runtime.ports import ArtifactStorage, GitHost, JobFacts
from factory_runtime.services.engine import Engine, Walk


@dataclass
class Begun:
    """An attempt under way, known to this process alone.

    Attributes:
        order: what its type wants rendered; None where it renders nothing.
        stopped: set to make its halves give up: cancelled, or over time.
        logs: lines for people, recorded when the attempt ends.
        cpu_seconds: of the children it waited for, so far.
        refusal: why its render failed: Prefect keeps only that it did.
    """

    planned: PlannedJob
    job: Job
    attempt: Attempt
    with_: Mapping[str, Any]
    order: RenderOrder | None
    stopped: threading.Event = field(default_factory=threading.Event)
    logs: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    cpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    cached: bool | None = None
    refusal: FactoryError | None = None


@dataclass(frozen=True, slots=True)
class AnotherAttempt:
    """The attempt failed and the store allows one more, not earlier than this."""

    not_before: datetime
    error: str


class StoredTree:
    """A rendered tree, read from storage each time it is asked for."""

    def __init__(self, storage: ArtifactStorage, tenant_id: str, reference: TreeReference) -> None:
        self._storage = storage
        self._tenant_id = tenant_id
        self.reference = reference

    def files(self) -> Iterator[TreeFile]:
        with self._storage.open(self._tenant_id, self.reference.digest) as body:
            yield from read_tree(body)


class AttemptContext:
    """Implements ports.JobContext for one attempt."""

    def __init__(self, engine: Engine, walk: Walk, begun: Begun) -> None:
        self._engine = engine
        self._begun = begun
        run = walk.run
        self.facts = JobFacts(
            tenant_id=run.tenant_id,
            project_id=run.project_id,
            run_id=run.id,
            step=begun.job.step,
            attempt=begun.attempt.number,
            effect_key=effect_key(run.id, begun.job.step),
            template_id=run.template_id,
            template_version=run.template_version,
            requested_by=run.requested_by,
            module_id=run.module_id,
            follows=ancestors(walk.plan, begun.job.step),
        )

    @property
    def host(self) -> GitHost:
        return self._engine.host

    @property
    def storage(self) -> ArtifactStorage:
        return self._engine.storage

    def now(self) -> datetime:
        return self._engine.clock.now()

    def intend(self, kind: str, target: str) -> str | None:
        facts = self.facts
        intended = Effect(
            effect_key=facts.effect_key,
            kind=kind,
            tenant_id=facts.tenant_id,
            run_id=facts.run_id,
            step=facts.step,
            target=target,
            intended_at=self.now(),
        )
        self.check_cancelled()
        with self._engine.store.begin(facts.tenant_id) as tx:
            stands = tx.intend_effect(intended)
        return stands.reference if stands.status is EffectStatus.CONFIRMED else None

    def log(self, message: str) -> None:
        self._begun.logs.append((self.now(), message))

    def check_cancelled(self) -> None:
        if self._begun.stopped.is_set():
            raise CancelledError(f"job {self.facts.step} was asked to stop")
