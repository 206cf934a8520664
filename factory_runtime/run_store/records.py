"""Which kind of value lies in which table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    Dialect,
    RowMapping,
    Table,
)

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.approval import Approval, Vote
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.audit import AuditSeal, Unsealed
from factory_runtime.domain.callback import Callback
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    LetterCount,
    RedriveOrder,
)
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.hold import DyingBody, Hold
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory import (
    ContextPackage,
    Forgotten,
    Memory,
    MemoryModel,
    MemoryUse,
    MemoryVector,
    Observation,
)
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import (
    AuditEntry,
    Breaker,
    Checkpoint,
    Effect,
    Lock,
    OutboxMessage,
    RequestRecord,
    RunEvent,
    SetAside,
    TemplateRecord,
    TopicWait,
)
from factory_runtime.domain.run import Run
from factory_runtime.domain.run_words import RunWord
from factory_runtime.domain.tally import Tally
from factory_runtime.domain.webhook import WebhookDelivery, WebhookSource
from factory_runtime.run_store import tables
from factory_runtime.run_store.column_types import CleanText, VectorBytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Record(Generic[T]):
    """A kind of value and the table that holds it: one column for each of its fields."""

    table: Table
    of: type[T]

    @cached_property
    def columns(self) -> tuple[Column[Any], ...]:
        return tuple(self.table.c[field.name] for field in fields(self.of))

    def row_of(self, value: T) -> dict[str, Any]:
        return {column.name: getattr(value, column.name) for column in self.columns}

    def value_of(self, row: RowMapping) -> T:
        if self._derived:
            return self.of(**{name: row[name] for name in row if name not in self._derived})
        return self.of(**row)

    @cached_property
    def _derived(self) -> frozenset[str]:
        """Columns whose values follow from the others."""
        return frozenset(field.name for field in fields(self.of) if not field.init)

    def changes(self, before: T, after: T) -> dict[str, Any]:
        """The columns in which the two differ, with what they become."""
        old, new = self.row_of(before), self.row_of(after)
        return {name: value for name, value in new.items() if value != old[name]}

    def check(self, row: Mapping[str, Any]) -> None:
        """Refuse text that is longer than its column, which SQLite alone would take.

        Raises:
            InputError: it names the column and both lengths.
        """
        for name, length in self._lengths:
            text = row.get(name)
            if isinstance(text, str) and len(text) > length:
                raise InputError(
                    f"{self.table.name}.{name} holds {length} characters, not {len(text)}",
                    hint="use a shorter one",
                )

    @cached_property
    def fits_json(self) -> bool:
        """Whether no column of it holds bytes."""
        return not any(isinstance(column.type, VectorBytes) for column in self.columns)

    def as_json(self, rows: Iterable[Mapping[str, Any]], dialect: Dialect) -> str:
        """The rows as PostgreSQL reads them: a list of objects, a member for each column.

        Raises:
            InputError: a value that no column type can turn into SQL.
        """
        columns = _binding(self, dialect)
        try:
            stored = [
                {
                    name: value if bind is None else bind(value)
                    for (name, bind), value in zip(columns, row.values(), strict=True)
                }
                for row in rows
            ]
            return json.dumps(stored, default=datetime.isoformat, allow_nan=False)
        except (ValueError, TypeError) as exc:
            raise InputError(f"the run store cannot hold this value: {exc}") from exc

    @cached_property
    def _lengths(self) -> tuple[tuple[str, int], ...]:
        kinds = ((column.name, column.type) for column in self.columns)
        return tuple((name, kind.length) for name, kind in kinds if isinstance(kind, CleanText))


RUNS = Record(tables.runs, Run)
RUN_WORDS = Record(tables.run_words, RunWord)
JOBS = Record(tables.jobs, Job)
ATTEMPTS = Record(tables.attempts, Attempt)
ARTIFACTS = Record(tables.artifacts, Artifact)
EVENTS = Record(tables.run_events, RunEvent)
EFFECTS = Record(tables.effects, Effect)
CHECKPOINTS = Record(tables.checkpoints, Checkpoint)
BREAKERS = Record(tables.breakers, Breaker)
MESSAGES = Record(tables.outbox, OutboxMessage)
TEMPLATES = Record(tables.templates, TemplateRecord)
REQUESTS = Record(tables.requests, RequestRecord)
MEMORIES = Record(tables.memory_records, Memory)
VECTORS = Record(tables.memory_vectors, MemoryVector)
OBSERVATIONS = Record(tables.memory_observations, Observation)
USES = Record(tables.memory_uses, MemoryUse)
FORGOTTEN = Record(tables.memory_forgotten, Forgotten)
MODELS = Record(tables.memory_models, MemoryModel)
PACKAGES = Record(tables.memory_packages, ContextPackage)
TALLIES = Record(tables.memory_tallies, Tally)
LOCKS = Record(tables.locks, Lock)
LETTERS = Record(tables.dead_letters, DeadLetter)
LETTER_COUNTS = Record(tables.letter_counts, LetterCount)
FAILURE_KINDS = Record(tables.failure_kinds, FailureKind)
ORDERS = Record(tables.redrive_orders, RedriveOrder)
APPROVALS = Record(tables.approvals, Approval)
VOTES = Record(tables.votes, Vote)
POLICIES = Record(tables.policies, PolicyRecord)
DEPLOYMENTS = Record(tables.deployments, Deployment)
PUBLICATIONS = Record(tables.publications, Publication)
SET_ASIDES = Record(tables.set_asides, SetAside)
TOPIC_WAITS = Record(tables.topic_waits, TopicWait)
AUDIT = Record(tables.audit, AuditEntry)
API_KEYS = Record(tables.api_keys, ApiKey)
SOURCES = Record(tables.webhook_sources, WebhookSource)
DELIVERIES = Record(tables.webhook_deliveries, WebhookDelivery)
CALLBACKS = Record(tables.callbacks, Callback)
HOLDS = Record(tables.holds, Hold)
DYING_BODIES = Record(tables.dying_bodies, DyingBody)
SEALS = Record(tables.audit_seals, AuditSeal)
UNSEALED = Record(tables.audit_unsealed, Unsealed)


@lru_cache(maxsize=256)
def _binding(
    record: Record[Any], dialect: Dialect
) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """The columns, and what makes of a value of each what the database is given."""
    kinds = ((column.name, column.type.dialect_impl(dialect)) for column in record.columns)
    return tuple((name, kind.bind_processor(dialect)) for name, kind in kinds)
