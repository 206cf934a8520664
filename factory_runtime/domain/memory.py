"""A Memory: what was learned, kept for good; the vector index is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Collection(StrEnum):
    """The kinds of vector index."""

    TEMPLATES = "templates"
    RUNS = "runs"
    CODE = "code"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that was learned.

    Attributes:
        id: derived from what it is about, so learning it twice is learning it once.
        text: what is embedded and shown; redacted already.
        vector: embedding of ``text``; None until embedded.
    """

    id: str
    tenant_id: str
    collection: Collection
    title: str
    text: str
    created_at: datetime
    project_id: str | None = None
    module_id: str | None = None
    run_id: str | None = None
    step: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    template_id: str | None = None
    template_version: str | None = None
    outcome: str | None = None
    classification: str = "internal"
    embedding_model: str | None = None
    embedding_version: str | None = None
    superseded_by: str | None = None
    vector: tuple[float, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that a search found, with its likeness (1 is the same, 0 unrelated)."""

    memory: Memory
    score: float
