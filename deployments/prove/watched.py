"""A runtime whose ports tell of the moments in the life of a job, exactly when they come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

from deployments.prove.points import Moment, Point
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder, WaitUntil
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import (
    ArtifactStorage,
    ChoiceOfHosts,
    Embedder,
    FileTree,
    GitHost,
    JobContext,
    JobType,
    MemoryIndex,
    RunStore,
    RunTransaction,
    Undoing,
)

_publishing: ContextVar[str | None] = ContextVar("publishing", default=None)
"""The job whose publishing half runs here. A host is not told who asks."""

_HAVE_EFFECTS = ("ensure_", "remove_", "revert_")
"""How the names of those methods of a host begin that have an effect."""


class Watch:
    """Whom the ports tell."""

    def __init__(self, tell: Callable[[Moment], None]) -> None:
        """``tell`` is called on whatever thread comes by, and need not return."""
        self._tell = tell
        self._intended: dict[str, str] = {}
        self._by_itself: dict[str, set[str]] = {}

    def reach(self, point: Point, job: str, effect: str | None = None) -> None:
        if point is Point.INTENDED and effect is not None:
            self._intended[job] = effect
            self._by_itself.setdefault(job, set()).add(effect)
        self._tell(Moment(point, job, effect))

    def ask(self, job: str | None, noun: str, ask: Callable[[], Any]) -> Any:
        """Have a host asked for an effect: the one that the job has intended last."""
        if job is None:
            return ask()
        effect = self._intended.get(job, noun)
        self._by_itself.get(job, set[str]()).discard(effect)
        self.reach(Point.BEFORE_EFFECT, job, effect)
        answer = ask()
        self.reach(Point.AFTER_EFFECT, job, effect)
        return answer

    def published(self, job: str) -> None:
        """The job's type is done: so are the effects that no host was asked for."""
        for effect in sorted(self._by_itself.pop(job, ())):
            self.reach(Point.AFTER_EFFECT, job, effect)


@dataclass(frozen=True, kw_only=True)
class WatchedRuntime(Runtime):
    """The runtime ``inner``, watched. What is remembered is kept out of LanceDB: it is not proved.

    Attributes:
        inner: opens the ports.
        watch: is told.
    """

    inner: Runtime
    watch: Watch

    @opened_once
    def store(self) -> RunStore:
        return cast(RunStore, WatchedStore(self.inner.store, self.watch))

    @opened_once
    def storage(self) -> ArtifactStorage:
        return self.inner.storage

    @opened_once
    def host(self) -> GitHost:
        return cast(GitHost, WatchedHost(self.inner.host, self.watch))

    @opened_once
    def job_types(self) -> Mapping[str, JobType]:
        types = copy(cast(dict[str, JobType], self.inner.job_types))  # it knows the broken ones
        for name, job_type in types.items():
            types[name] = WatchedJobType(job_type, self.watch)
        return types

    @opened_once
    def embedder(self) -> Embedder:
        from factory_runtime.memory.in_memory import WordsEmbedder

        return WordsEmbedder()

    @opened_once
    def memory(self) -> MemoryIndex:
        from factory_runtime.memory.in_memory import InMemoryMemoryIndex

        return InMemoryMemoryIndex(self.embedder)


class WatchedStore:
    """A run store that tells when a job is claimed, intends an effect, and ends."""

    def __init__(self, store: RunStore, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> Generator[RunTransaction]:
        with self._store.begin(tenant_id, read_only=read_only, durable=durable) as tx:
            watched = WatchedTransaction(tx)
            yield cast(RunTransaction, watched)
            for job in watched.ended:
                self._watch.reach(Point.BEFORE_COMMIT, job)
        for moment in watched.committed:
            self._watch.reach(moment.point, moment.job, moment.effect)


class WatchedTransaction:
    """Notes what is written.

    Attributes:
        ended: jobs that end with it.
        committed: moments that come when it is committed.
    """

    def __init__(self, tx: RunTransaction) -> None:
        self._tx = tx
        self.ended: list[str] = []
        self.committed: list[Moment] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def add_attempt(self, attempt: Attempt) -> None:
        self._tx.add_attempt(attempt)
        self.committed.append(Moment(Point.CLAIMED, attempt.step))

    def save_job(self, before: Job, after: Job, *, detail: Mapping[str, Any] | None = None) -> None:
        self._tx.save_job(before, after, detail=detail)
        if after.ended:
            self.ended.append(after.step)
            self.committed.append(Moment(Point.AFTER_COMMIT, after.step))

    def intend_effect(self, effect: Effect) -> Effect:
        self.committed.append(Moment(Point.INTENDED, effect.step, effect.kind))
        return self._tx.intend_effect(effect)


class WatchedHost:
    """A git host that tells just before it is asked for an effect, and when it has answered."""

    def __init__(self, host: GitHost, watch: Watch) -> None:
        self._host = host
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._host, name)
        if not name.startswith(_HAVE_EFFECTS):
            return asked

        def ask(*arguments: Any, **named: Any) -> Any:
            noun = name.partition("_")[2]
            return self._watch.ask(_publishing.get(), noun, lambda: asked(*arguments, **named))

        return ask

    def at(self, choice: str) -> GitHost:
        """The one that a run keeps, watched as well."""
        kept = cast(ChoiceOfHosts, self._host).at(choice)
        return cast(GitHost, WatchedHost(kept, self._watch))


class WatchedJobType:
    """A job type that tells when it has published."""

    def __init__(self, job_type: JobType, watch: Watch) -> None:
        self._job_type = job_type
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job_type, name)

    @property
    def facts(self) -> JobTypeFacts:
        return self._job_type.facts

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        return self._job_type.render(with_)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        return self._watched(context, lambda: self._job_type.publish(context, with_, tree))

    def undo(
        self, context: JobContext, undo: str, effects: tuple[Effect, ...]
    ) -> JobResult | WaitUntil:
        job_type = cast(Undoing, self._job_type)  # who asks has seen that it offers this undo
        return self._watched(context, lambda: job_type.undo(context, undo, effects))

    def _watched(
        self, context: JobContext, act: Callable[[], JobResult | WaitUntil]
    ) -> JobResult | WaitUntil:
        token = _publishing.set(context.facts.step)
        try:
            result = act()
        finally:
            _publishing.reset(token)
        self._watch.published(context.facts.step)
        return result

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return self._job_type.probe(host, effect)
