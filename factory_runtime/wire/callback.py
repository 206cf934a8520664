"""Callbacks, as they are asked for and told of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from factory_runtime.domain.callback import Callback
from factory_runtime.domain.run import RunStatus
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.run import Slug

_NEW: dict[str, JsonValue] = {
    "url": "https://hooks.example.com/factory",
    "projectId": "shop",
    "statuses": ["Succeeded", "Failed"],
}


class NewCallback(Question):
    """An address that is to be told when runs have ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NEW]})

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    project_id: Slug | None = Field(default=None, description="null is of all projects")
    statuses: Annotated[tuple[RunStatus, ...], Field(max_length=3)] = Field(
        default=(), description="the ends that it is told of: Succeeded, Failed, Cancelled; all"
    )


class CallbackAnswer(Answer):
    """An address that is told when runs have ended."""

    callback_id: str
    url: str
    project_id: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    created_at: datetime
    created_by: str
    disabled_at: datetime | None = None
    reason: str | None = Field(default=None, description="why it is told no more")

    @classmethod
    def of(cls, callback: Callback) -> CallbackAnswer:
        """What its record says, but for the secret."""
        return cls(**_facts_of(callback))


class CallbackWithSecret(CallbackAnswer):
    """A callback whose secret is told this once."""

    secret: str = Field(description="its messages are signed with it, as Standard Webhooks has it")

    @classmethod
    def made(cls, callback: Callback, secret: str) -> CallbackWithSecret:
        """The record, and what nobody can read in it again."""
        return cls(**_facts_of(callback), secret=secret)


def _facts_of(callback: Callback) -> dict[str, Any]:
    same = set(CallbackAnswer.model_fields) - {"callback_id"}
    return {"callback_id": callback.id, **{name: getattr(callback, name) for name in same}}
