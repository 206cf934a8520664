"""A Memory: what was learned, kept for good; the vector index is made from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Collection(StrEnum):
    """The four vector indexes of a tenant."""

    TEMPLATES = "templates"
    RUNS = "runs"
    CODE = "code"
    DOMAIN = "domain"


class Kind(StrEnum):
    """What a memory tells of."""

    TEMPLATE = "template"
    RUN = "run"
    FAILURE = "failure"
    SUCCESS = "success"
    CODE = "code"
    DOCUMENT = "document"


COLLECTION_OF: Mapping[Kind, Collection] = {
    Kind.TEMPLATE: Collection.TEMPLATES,
    Kind.RUN: Collection.RUNS,
    Kind.FAILURE: Collection.RUNS,
    Kind.SUCCESS: Collection.RUNS,
    Kind.CODE: Collection.CODE,
    Kind.DOCUMENT: Collection.DOMAIN,
}


def kinds_of(collections: Iterable[Collection]) -> frozenset[Kind]:
    """The kinds that lie in one of them."""
    wanted = set(collections)
    return frozenset(kind for kind, of in COLLECTION_OF.items() if of in wanted)


def digest_of_text(text: str) -> str:
    """SHA-256 of what is embedded, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that was learned.

    Attributes:
        id: derived from what it is about, so learning it twice is learning it once.
        text: what is embedded and shown; redacted already.
        prose: the text as a language model has put it, for people; never what is searched or counted.
        changed_at: when it last became another one than before; None until it is kept.
        artifact_id, commit, path, first_line, last_line: where it was cut from; lines count from 1.
        superseded_by: the id of the memory that stands in its place; it is still found, further
            down.
        revision: one more each time it changes; the store counts.
        indexed_at: when the index got this revision; None while it has not.
        text_digest: of ``text``: its vectors are kept under it.
    """

    id: str
    tenant_id: str
    kind: Kind
    title: str
    text: str
    created_at: datetime
    project_id: str | None = None
    module_id: str | None = None
    run_id: str | None = None
    step: str | None = None
    artifact_id: str | None = None
    commit: str | None = None
    path: str | None = None
    first_line: int | None = None
    last_line: int | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    template_id: str | None = None
    template_version: str | None = None
    outcome: str | None = None
    classification: str = "internal"
    superseded_by: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    prose: str | None = None
    changed_at: datetime | None = None
    revision: int = 1
    indexed_at: datetime | None = None
    collection: Collection = field(init=False)
    text_digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "collection", COLLECTION_OF[self.kind])
        object.__setattr__(self, "text_digest", digest_of_text(self.text))

    @property
    def edition(self) -> tuple[int, datetime | None, str]:
        """Which one it is. One that was deleted and is learned again begins at revision 1 again."""
        return self.revision, self.changed_at, self.text_digest


@dataclass(frozen=True, slots=True)
class MemoryVector:
    """What an embedding model makes of a text, kept so that it is never computed again.

    Attributes:
        model: name and version, like ``all-MiniLM-L6-v2/1``.
        text_digest: of the text, as memories have it.
        vector: of unit length.
    """

    tenant_id: str
    model: str
    text_digest: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A memory with its vector: what an index is given."""

    memory: Memory
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that a search found.

    Attributes:
        score: what it is ordered by: likeness and words weighed, less where it is superseded.
        likeness: of meaning: 1 is the same, 0 unrelated.
        words: how well the words of the query stand in it: 1 where all do that are rare elsewhere,
            0 where none does.
        superseded: why it stands further down: what has taken its place, like
            ``microservice 1.3.0``; None where nothing has.
        folded: ids of memories that say nearly the same, and are shown as this one.
        shared_by: the tenant that shares it; None for one's own.
    """

    memory: Memory
    score: float
    likeness: float = 0.0
    words: float = 0.0
    superseded: str | None = None
    folded: tuple[str, ...] = ()
    shared_by: str | None = None


class ObservationKind(StrEnum):
    """What was seen of a run."""

    FAILED = "failed"
    TRIED = "tried"
    ENDED = "ended"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Observation:
    """Something that was seen once.

    What is seen often enough makes a pattern, worked out anew from all that was seen: so a run that
    is forgotten is forgotten there too.

    Attributes:
        subject: what it tells of: a failure's fingerprint, a combination that succeeds, a piece of
            code; the id of the memory that is made of it.
        place: tells apart what one step of one cycle shows of one subject: the digest of a
            difference that was tried, or a path.
        worked: whether it ended well; None where that is no question.
    """

    tenant_id: str
    subject: str
    kind: ObservationKind
    run_id: str
    step: str
    cycle: int
    place: str
    at: datetime
    project_id: str | None = None
    worked: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """A memory that was shown to a run, and whether the run made use of it.

    Attributes:
        step: the step that recalled it; empty where it was shown before the run began.
        rank: from 1, where it stood among what was shown.
        used_at: when the run said that it used it; None while it has not.
    """

    tenant_id: str
    run_id: str
    step: str
    memory_id: str
    project_id: str
    rank: int
    score: float
    shown_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reuse:
    """What came of the memories that runs were shown.

    Attributes:
        shown: runs that were shown any.
        used: of them, those that used one.
        succeeded: of these, those that Succeeded.
    """

    shown: int
    used: int
    succeeded: int


class ForgetScope(StrEnum):
    """What can be forgotten."""

    RUN = "run"
    PROJECT = "project"
    TENANT = "tenant"


UNDER_WAY = datetime(9999, 1, 1, tzinfo=UTC)
"""Stands for the time of what is still being forgotten: whatever ends until that is done is meant."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was to be forgotten, so that what is still on its way is not learned again.

    Attributes:
        key: of the run or the project; empty for the tenant.
        at: runs that had ended by then are meant; ``UNDER_WAY`` until all of it is erased.
    """

    tenant_id: str
    scope: ForgetScope
    key: str
    at: datetime

    @property
    def is_done(self) -> bool:
        return self.at != UNDER_WAY


@dataclass(frozen=True, slots=True)
class Erased:
    """What was forgotten.

    Attributes:
        key: of the run or the project; empty for the tenant.
        memories: that are deleted.
        changed: that others have taught as well: they tell only of those now.
    """

    scope: ForgetScope
    key: str
    memories: int
    changed: int


class ModelStatus(StrEnum):
    """How far a tenant's memory is with an embedding model."""

    BUILDING = "building"
    ACTIVE = "active"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """An embedding model that a tenant's memory has vectors of.

    Attributes:
        model: name and version, like ``all-MiniLM-L6-v2/1``.
        embedder: how the settings name it, like ``minilm`` or ``openai:text-embedding-3-small``.
        status: exactly one is active: what searches use. One that is building, and one that is
            kept for going back, get the vectors of new memories too.
    """

    tenant_id: str
    model: str
    embedder: str
    dimensions: int
    status: ModelStatus
    begun_at: datetime
    switched_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContextPackage:
    """What was found for a task, to be handed to whoever does it.

    It has ids only. The texts are read when it is read, so what is forgotten is gone from it too.

    Attributes:
        task_digest: of what was asked, in full.
        memory_ids: in their order.
        budget: tokens, at most.
        newest_at: the newest memory's change, as far as the index had it.
        lag_seconds: how old the oldest thing was that the index did not have.
    """

    tenant_id: str
    id: str
    task_digest: str
    memory_ids: tuple[str, ...]
    scores: tuple[float, ...]
    budget: int
    created_at: datetime
    expires_at: datetime
    newest_at: datetime | None = None
    lag_seconds: float = 0.0
    projects: tuple[str, ...] | None = None
