"""Dead letters, their kinds, and orders to send some round again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, StrictInt

from factory_runtime.domain.dead_letter import (
    DeadLetter,
    LetterGroup,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.records import AuditEntry
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.bulk import BulkRetry, Change

Reason = Annotated[str, Field(min_length=1, max_length=2000, description="why, in a few words")]


class Discard(Question):
    """Close a letter: nobody sends it round again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "the service was given up", "undo": False}]}
    )

    reason: Reason
    undo: StrictBool = Field(
        default=False,
        description="whether what its run did is taken back; its other open letters go with it",
    )


class BulkDiscard(Discard):
    """Close all open letters that the query chooses."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "tried a host of tests", "expectedCount": 7}]}
    )

    expected_count: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="of the preview: nothing is done where it is another by now"
    )


class Redrive(Change):
    """Send a letter's job round again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"timeoutSeconds": 1800, "beside": ["deploy"]}]}
    )

    beside: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=1000)] = (
        Field(default=(), description="failed jobs of the same run that go along, by step")
    )


class BulkRedrive(BulkRetry):
    """Send all open letters round again that the query chooses."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"canary": True, "timeoutSeconds": 1800}]}
    )

    canary: StrictBool = Field(
        default=False, description="one goes ahead; the others follow when it has succeeded"
    )


class StopOrder(Question):
    """Send no more of an order's letters round."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the host is down"}]})

    reason: Reason


class LetterAnswer(Answer):
    """A job that failed for good, as a list has it."""

    letter_id: str
    run_id: str
    step: str
    project_id: str
    template_id: str
    template_version: str
    job_type: str
    fingerprint: str = Field(description="64 hex digits, the same for failures of one kind")
    error_code: str
    error: str
    attempts: int
    status: LetterStatus
    cycle: int
    redrives: int
    first_failed_at: datetime
    failed_at: datetime
    version: int = 1
    checkpoint: int | None = Field(default=None, description="the one that it would go on from")
    order_id: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    reason: str | None = None
    trace_id: str

    @classmethod
    def of(cls, letter: DeadLetter) -> LetterAnswer:
        """What a letter's record says."""
        return cls(**_facts_of(letter))


class TriedAnswer(Answer):
    """Something that somebody did with a letter."""

    id: str
    at: datetime
    actor: str
    action: str = Field(examples=["dead-letter.redrive"])
    detail: Mapping[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, entry: AuditEntry) -> TriedAnswer:
        """What the audit says of it, but for where it came from."""
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class LetterDetail(LetterAnswer):
    """A letter with what its job was told, and where it failed."""

    told: Any = Field(default=None, description="the step's `with`, its expressions evaluated")
    traceback: Any = None
    tried: tuple[TriedAnswer, ...] = Field(
        default=(), description="what people did with it, the oldest first"
    )


class GroupAnswer(Answer):
    """Open dead letters of one kind of failure."""

    fingerprint: str
    job_type: str
    error_code: str
    message: str = Field(description="without what differs from one failure to the next")
    letters: int
    runs: int = Field(description="how many runs they hold up")
    first_seen: datetime
    last_seen: datetime

    @classmethod
    def of(cls, group: LetterGroup) -> GroupAnswer:
        """What was counted; of whom is not told."""
        return cls(**{name: getattr(group, name) for name in cls.model_fields})


class BulkDiscarded(Answer):
    """What came of discarding many."""

    count: int = Field(description="how many were chosen")
    done: int = Field(description="letters that were discarded; with `undo` more than were chosen")
    refused: int = Field(description="runs whose letters were left as they were")
    error: str | None = Field(default=None, description="why, for the last of them")


class OrderAnswer(Answer):
    """Letters that were chosen to go round again, and how far that is."""

    order_id: str
    status: OrderStatus
    requested_by: str
    requested_at: datetime
    version: int = 1
    total: int
    redriven: int
    refused: int
    canary_id: str | None = Field(default=None, description="the letter that goes ahead")
    fingerprint: str | None = None
    job_type: str | None = None
    template_id: str | None = None
    project_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None
    finished_at: datetime | None = None
    change: Any = Field(default=None, description="what they go round with; no secret of it")

    @classmethod
    def of(cls, order: RedriveOrder, change: Any = None) -> OrderAnswer:
        """What an order's record says, with the change that it refers to."""
        names = set(cls.model_fields) - {"order_id", "change"}
        facts = {name: getattr(order, name) for name in names}
        return cls(order_id=order.id, change=change, **facts)


def _facts_of(letter: DeadLetter) -> dict[str, Any]:
    same = set(LetterAnswer.model_fields) - {"letter_id"}
    return {"letter_id": letter.id, **{name: getattr(letter, name) for name in same}}
