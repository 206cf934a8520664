"""What the store keeps of what was learned, for good; the index is made from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.memory import (
    ContextPackage,
    ForgetScope,
    Forgotten,
    Kind,
    Memory,
    MemoryModel,
    MemoryUse,
    MemoryVector,
    Observation,
    ObservationKind,
    Reuse,
)
from factory_runtime.domain.tally import Tally
from factory_runtime.ports.numbers import Line


class MemoryRecords(Protocol):
    """Part of ``RunTransaction``."""

    # what was learned

    def save_memories(self, memories: Iterable[Memory]) -> int:
        """Insert or replace by id; how many were new or other than before.

        One that is alike changes nothing. One that is not gets the next revision, keeps its
        ``created_at``, and is to be indexed again. Its ``prose`` stays while its text does.
        """
        ...

    def find_memories(self, ids: Collection[str]) -> tuple[Memory, ...]:
        """Those of them that are there, in the order of ids."""
        ...

    def list_memories(
        self,
        *,
        kind: Kind | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        template_id: str | None = None,
        limit: int = 1000,
        after_id: str | None = None,
    ) -> tuple[Memory, ...]:
        """In the order of ids; ``after_id`` continues."""
        ...

    def count_memories(self) -> Mapping[Kind, int]: ...

    def delete_memories(self, ids: Collection[str]) -> None:
        """With the vectors that no other memory of the tenant has the text of."""
        ...

    def save_prose(self, memory: Memory, prose: str) -> None:
        """Keep what a language model made of it, where it is still the one that was read.

        It stays the same revision, which the index has: no index has prose. Where its text becomes
        another, that is gone. Of the text's tally nothing is left.
        """
        ...

    def memories_without_prose(
        self, kinds: Collection[Kind], now: datetime, limit: int
    ) -> tuple[Memory, ...]:
        """The newest first, but for those whose text a tally wants left alone now."""
        ...

    def find_tally(self, about: str) -> Tally | None: ...

    def save_tally(self, tally: Tally) -> None:
        """Insert or replace; that of a text goes with the last memory that has the text."""
        ...

    # what the index has of it

    def unindexed_memories(self, limit: int) -> tuple[Memory, ...]:
        """Those that the index does not have as they are now, the longest waiting first.

        What the release before has written of them is taken in, as by ``adopt_memories``.
        """
        ...

    def unadopted_memories(self, limit: int) -> tuple[str, ...]:
        """Ids of those that the release before has written or rewritten."""
        ...

    def adopt_memories(self, ids: Collection[str]) -> int:
        """Take such ones in: how many of these there still are.

        They are to be indexed again, and the vectors of texts that are no more are gone.
        """
        ...

    def unindexed_line(self) -> Line | None:
        """How many those are, and since when the one waits that waits longest; None is none.

        One waits since it changed, or since ``mark_all_unindexed``.
        """
        ...

    def mark_indexed(self, memories: Iterable[Memory], at: datetime) -> None:
        """The index has them; not those that are others than when they were read."""
        ...

    def mark_unindexed(self, ids: Collection[str]) -> None:
        """The index has lost these."""
        ...

    def mark_all_unindexed(self, at: datetime) -> None:
        """The index has lost everything, or is to get it anew."""
        ...

    # vectors

    def save_vectors(self, vectors: Iterable[MemoryVector]) -> None:
        """Insert those that are not there; one that is stays as it is."""
        ...

    def find_vectors(
        self, model: str, digests: Collection[str]
    ) -> Mapping[str, tuple[float, ...]]: ...

    def memories_without_vector(self, model: str, limit: int) -> tuple[Memory, ...]:
        """In the order of ids; what the release before has rewritten of them is taken in."""
        ...

    def count_vectors(self, model: str) -> int:
        """How many memories have one."""
        ...

    def drop_vectors(self, model: str) -> None: ...

    def drop_unused_vectors(self, digests: Collection[str]) -> None:
        """Those of them whose text no memory has."""
        ...

    def unused_vectors(self, limit: int) -> tuple[str, ...]:
        """Digests of such texts, of which vectors are kept all the same."""
        ...

    # models

    def list_models(self) -> tuple[MemoryModel, ...]:
        """In the order of their beginning."""
        ...

    def save_model(self, model: MemoryModel) -> None: ...

    def drop_model(self, model: str) -> None: ...

    # what was seen

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Those that are there already stay as they are."""
        ...

    def list_observations(
        self,
        *,
        subject: str | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        projects: Collection[str] | None = None,
        kind: ObservationKind | None = None,
        limit: int = 1000,
    ) -> tuple[Observation, ...]:
        """The oldest first; with a limit, the newest so many. ``projects``: of one of these."""
        ...

    def delete_observations(
        self,
        *,
        subject: str | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ObservationKind | None = None,
        limit: int | None = None,
    ) -> tuple[str, ...]:
        """Of the subject, of the run, of the project, of the kind, or all; the subjects they were of.

        With a limit, the first so many in the order of their subjects.
        """
        ...

    # what came of it

    def add_uses(self, uses: Iterable[MemoryUse]) -> None:
        """What was shown; shown again it stays as it was."""
        ...

    def mark_used(self, run_id: str, memory_ids: Collection[str], at: datetime) -> None: ...

    def list_uses(
        self, *, run_id: str | None = None, memory_id: str | None = None, limit: int = 1000
    ) -> tuple[MemoryUse, ...]: ...

    def count_reuse(self) -> Reuse: ...

    def unname_uses(self, memory_ids: Collection[str]) -> None:
        """That they were shown, and used, still counts; which ones those were, nobody can tell."""
        ...

    def delete_uses(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        limit: int | None = None,
    ) -> int:
        """Of the run, of the project, or all; how many."""
        ...

    # what is to be forgotten

    def overwrite_deleted(self) -> None:
        """Write over what this transaction deletes, where it would otherwise lie hidden."""
        ...

    def add_forgotten(self, forgotten: Forgotten) -> None:
        """Written over where it was forgotten before."""
        ...

    def find_forgotten(self, scope: ForgetScope, key: str) -> Forgotten | None: ...

    def forgotten_since(self, at: datetime) -> bool:
        """Whether anything of the tenant was forgotten then or later."""
        ...

    # context packages

    def add_package(self, package: ContextPackage) -> None: ...

    def find_package(self, package_id: str) -> ContextPackage | None: ...

    def find_package_of(self, task_digest: str, now: datetime) -> ContextPackage | None:
        """The newest of the task that has not expired."""
        ...

    def drop_packages(self, expired_at: datetime) -> int: ...
