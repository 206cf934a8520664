"""Context packages: what is known about a task, for whoever does it, within so many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.citation import source_of
from factory_runtime.domain.conditions import matches, open_to
from factory_runtime.domain.context import BUDGETS, BY_CHARACTERS, TTLS, Bundle, Cited, Task
from factory_runtime.domain.errors import (
    ContextPackageNotFoundError,
    InputError,
    MemoryUnavailableError,
)
from factory_runtime.domain.ids import digest_of, new_id
from factory_runtime.domain.memory import COLLECTION_OF, Collection, ContextPackage, Recalled
from factory_runtime.ports import Clock, Embedder, RecallQuery, RunStore
from factory_runtime.ports.memory import TokenCounter
from factory_runtime.services.recall import Recaller, bounded

_LOOKED_AT = 60
"""Memories that are recalled for one package; more would only be less alike."""

_CHARACTERS_OF_TOKEN = 4


@dataclass(frozen=True)
class ContextDesk:
    """Makes packages and reads them out."""

    store: RunStore
    clock: Clock
    recaller: Recaller

    def build(self, tenant_id: str, task: Task) -> Bundle:
        """The package for the task: one that is young enough still, or else a new one.

        Raises:
            InputError: there is no task, or the budget or the time is out of bounds.
            MemoryUnavailableError: the model or the index cannot be used.
        """
        query, now = query_of(task), self.clock.now()
        digest = _digest(task, query.text)
        with self.store.begin(tenant_id, read_only=True) as tx:
            package = tx.find_package_of(digest, now)
        if package is None or package.created_at + task.ttl <= now:
            package = self._make(tenant_id, task, query, digest, now)
        return self._bundle(package, task.confidential)

    def read(
        self,
        tenant_id: str,
        package_id: str,
        projects: tuple[str, ...] | None = None,
        confidential: tuple[str, ...] | None = None,
    ) -> Bundle:
        """A package as it reads now: what was forgotten since is gone from it.

        Args:
            tenant_id: whose.
            package_id: of one that has not expired.
            projects: those that whoever asks may see; None is all.
            confidential: those in which they see what is confidential; None is all.

        Raises:
            ContextPackageNotFoundError: there is none, it has expired, or it was made for a sight
                of more than theirs: nobody can tell which.
        """
        with self.store.begin(tenant_id, read_only=True) as tx:
            package = tx.find_package(package_id)
        if (
            package is None
            or package.expires_at <= self.clock.now()
            or not _covers(projects, package.projects)
        ):
            raise ContextPackageNotFoundError(
                f"no context package {package_id[:64]}",
                hint="they expire: ask for the task again, by `factory memory context`",
            )
        return self._bundle(package, confidential)

    def _make(
        self, tenant_id: str, task: Task, query: RecallQuery, digest: str, now: datetime
    ) -> ContextPackage:
        found = self.recaller.recall(tenant_id, query)
        cited, _ = self._cited(tenant_id, found, task.budget)
        chosen = [one.recalled for one in cited]
        changes = [one.memory.changed_at or one.memory.created_at for one in chosen]
        with self.store.begin(tenant_id) as tx:
            line = tx.unindexed_line()
            package = ContextPackage(
                tenant_id=tenant_id,
                id=new_id("ctx"),
                task_digest=digest,
                memory_ids=tuple(one.memory.id for one in chosen),
                scores=tuple(one.score for one in chosen),
                budget=task.budget,
                created_at=now,
                expires_at=now + task.ttl,
                newest_at=max(changes, default=None),
                lag_seconds=max(0.0, (now - line.since).total_seconds()) if line else 0.0,
                projects=task.sight,
            )
            tx.add_package(package)
        return package

    def _bundle(self, package: ContextPackage, confidential: tuple[str, ...] | None) -> Bundle:
        """Its texts, from the record: neither ids nor an index has any."""
        ids, projects = package.memory_ids, package.projects
        is_open = open_to(confidential)
        found = {
            one.memory.id: one
            for one in self.recaller.find(package.tenant_id, ids, projects)
            if is_open is None or matches(is_open, one.memory)
        }
        scored = zip(package.memory_ids, package.scores, strict=True)
        recalled = [_scored(found[id_], score) for id_, score in scored if id_ in found]
        cited, counted_by = self._cited(package.tenant_id, recalled, package.budget)
        return Bundle(package, tuple(cited), counted_by)

    def _cited(
        self, tenant_id: str, found: Sequence[Recalled], budget: int
    ) -> tuple[list[Cited], str]:
        """What there is room for, the best first; of the very best a part rather than nothing."""
        if not found:
            return [], BY_CHARACTERS
        counter = _Counter(self.recaller.open(tenant_id)[0])
        cited: list[Cited] = []
        left = budget
        for one in _unlike(found):
            text = _spelled(len(cited) + 1, one, one.memory.text)
            tokens = counter.count(text)
            if tokens <= left:
                cited.append(Cited(one, text, tokens))
                left -= tokens
        if not cited and (part := counter.cut(found[0], budget)) is not None:
            cited = [part]
        return cited, counter.name


class _Counter:
    """Counts tokens as the embedder would read them, or guesses where it cannot say."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = BY_CHARACTERS
        self._by: TokenCounter | None = None
        if isinstance(embedder, TokenCounter):
            self._by, self.name = embedder, embedder.model

    def count(self, text: str) -> int:
        if self._by is not None:
            try:
                return self._by.count_tokens(text)
            except MemoryUnavailableError:
                # A package can be read without the model; from here on all of it is guessed.
                self._by, self.name = None, BY_CHARACTERS
        return -(-len(text) // _CHARACTERS_OF_TOKEN)

    def cut(self, one: Recalled, budget: int) -> Cited | None:
        """As much of it as there is room for; None where its citation alone is too long."""
        text = whole = one.memory.text
        while True:
            spelled = _spelled(1, one, f"{text}…" if text != whole else text)
            tokens = self.count(spelled)
            if tokens <= budget:
                return Cited(one, spelled, tokens, is_cut=text != whole)
            if not text:
                return None
            text = text[: min(len(text) - 1, len(text) * budget // tokens)].rstrip()


def query_of(task: Task) -> RecallQuery:
    """What is recalled for the task.

    Raises:
        InputError: there is none, or its budget or its time is out of bounds.
    """
    least, most = BUDGETS
    if not least <= task.budget <= most:
        raise InputError(f"the budget is {task.budget} tokens", hint=f"ask for {least} to {most}")
    if not TTLS[0] <= task.ttl <= TTLS[1]:
        seconds = task.ttl.total_seconds()
        raise InputError(
            f"the package would be good for {seconds:g} s", hint="ask for 1 s to 1 d, 86400 s"
        )
    kinds = task.kinds
    places = Collection if kinds is None else dict.fromkeys(COLLECTION_OF[kind] for kind in kinds)
    return bounded(
        RecallQuery(
            text=task.text,
            collections=tuple(places),
            kinds=kinds,
            project_id=task.project_id,
            projects=task.projects,
            where=open_to(task.confidential),
            limit=_LOOKED_AT,
        )
    )


def _digest(task: Task, text: str) -> str:
    kinds = None if task.kinds is None else sorted(task.kinds)
    sight = None if task.sight is None else sorted(task.sight)
    confidential = None if task.confidential is None else sorted(task.confidential)
    return digest_of([text, task.budget, kinds, sight, confidential])


def _covers(sight: tuple[str, ...] | None, projects: tuple[str, ...] | None) -> bool:
    """Whether who sees these projects sees all of those; None is all there are."""
    return sight is None or (projects is not None and set(projects) <= set(sight))


def _scored(one: Recalled, score: float) -> Recalled:
    return Recalled(one.memory, score, superseded=one.superseded, shared_by=one.shared_by)


def _unlike(found: Sequence[Recalled]) -> Iterator[Recalled]:
    """Each text once."""
    seen: set[str] = set()
    for one in found:
        if one.memory.text_digest not in seen:
            seen.add(one.memory.text_digest)
            yield one


def _spelled(number: int, one: Recalled, text: str) -> str:
    """A memory with what it is, what became of it, and where it comes from."""
    said = [f"{one.memory.kind}, score {one.score:.2f}", *source_of(one.memory)]
    if one.memory.outcome is not None:
        said.append(one.memory.outcome)
    if one.superseded is not None:
        said.append(f"superseded by {one.superseded}")
    return f"[{number}] {one.memory.title}\n{text}\n({'; '.join(said)}; {one.memory.id})"
