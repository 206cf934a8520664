"""The memory: embedding, cutting into pieces, and the vector index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from factory_runtime.domain.conditions import Condition
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Collection, Embedded, Kind, Recalled
from factory_runtime.domain.piece import Piece


class Embedder(Protocol):
    """Text to vectors of unit length.

    Attributes:
        model, version: which, and which way of computing it; other vectors are not comparable.
        dimensions: how long a vector is.
    """

    model: str
    version: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector a text, in their order.

        Raises:
            MemoryUnavailableError: the model cannot be used now.
            PermanentError: it will not take these texts.
        """
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """What an embedder may be besides: one that says how long a text is to it."""

    model: str

    def count_tokens(self, text: str) -> int:
        """All of them, also those that it would not read.

        Raises:
            MemoryUnavailableError: the model cannot be used now.
        """
        ...


def model_name(embedder: Embedder) -> str:
    """The model with its version: what its vectors are kept under."""
    return f"{embedder.model}/{embedder.version}"


class Cutter(Protocol):
    """Cuts files where their language has borders."""

    def cut(self, path: str, content: bytes) -> tuple[Piece, ...]:
        """The pieces in their order; none where it is not text, or nothing is worth keeping."""
        ...


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What to look for, in one tenant's memory.

    What belongs to no project is the whole tenant's, and is found in each.

    Attributes:
        collections: where to look.
        kinds: of one of them; None is any of the collections'.
        projects: of one of them; None is any.
        since, until: when it was learned; ``until`` itself is no longer in.
        where: a condition of its own, beside the others.
        newest: of templates, the newest version by id: what tells of another is demoted.
        words_weight: how much words count beside meaning, 0 to 1; None is what the index was tuned
            to.

    Raises:
        InputError: a project, a template or an outcome without a name: nothing is called so.
    """

    text: str
    collections: tuple[Collection, ...] = (Collection.RUNS, Collection.TEMPLATES)
    kinds: tuple[Kind, ...] | None = None
    project_id: str | None = None
    projects: tuple[str, ...] | None = None
    template_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: Condition | None = None
    limit: int = 5
    exclude_run_ids: tuple[str, ...] = ()
    newest: Mapping[str, str] = field(default_factory=dict[str, str])
    words_weight: float | None = None

    def __post_init__(self) -> None:
        named = {"project": self.project_id, "template": self.template_id, "outcome": self.outcome}
        for name, value in named.items():
            if value == "":
                raise InputError(
                    f"the {name} to look for has no name", hint="leave it out to find that of any"
                )


@dataclass(frozen=True, slots=True)
class IndexSize:
    """What an index takes.

    Attributes:
        rows: by collection.
        unindexed_rows: of them, those that a vector index does not have yet.
        files, bytes_used: of all of it; None where it is not in files.
        versions: that are kept.
    """

    rows: Mapping[Collection, int]
    unindexed_rows: int = 0
    files: int | None = None
    bytes_used: int | None = None
    versions: int = 0


class MemoryIndex(Protocol):
    """The index of one embedding model: made from memory records, and can be made again.

    One writes a tenant's index at a time, by a lock of the store; any number read meanwhile.

    Raises, from every method: MemoryUnavailableError.
    """

    def upsert(self, tenant_id: str, rows: Sequence[Embedded]) -> None:
        """Put rows in by id, exactly once in effect, in one commit."""
        ...

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """The best first, over all the query's collections together; near-duplicates folded."""
        ...

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """Take rows out, and out of what is kept of earlier versions too."""
        ...

    def replace(self, tenant_id: str, rows: Iterable[Embedded]) -> int:
        """Make the tenant's index anew of these rows, and of nothing else; how many there are.

        Who searches meanwhile finds what was there before, where that can be read.
        """
        ...

    def drop(self, tenant_id: str) -> None:
        """Take all of the tenant's index away."""
        ...

    def drop_all(self, tenant_id: str) -> None:
        """Likewise, and what is kept beside it of other models, whether it can be read or not."""
        ...

    def count(self, tenant_id: str, collection: Collection) -> int: ...

    def tenants(self) -> tuple[str, ...]:
        """Whose memories there are, in the order of names."""
        ...

    def size(self, tenant_id: str) -> IndexSize: ...

    def commits(self, tenant_id: str) -> int:
        """How many commits there were since the last ``optimize``."""
        ...

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """Put small pieces together, index what has grown, let go of what was replaced.

        What was replaced less than ``keep`` ago stays, for those who may still be reading it. Who
        reads or writes meanwhile is not disturbed; two of these at once do the work twice.
        """
        ...
