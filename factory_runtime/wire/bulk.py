"""Things done to many runs at once, which a filter chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, StrictBool, StrictFloat, StrictInt

from factory_runtime.domain.run import RunStatus
from factory_runtime.wire.base import Answer, Question

Version = Annotated[str, Field(min_length=1, max_length=64)]


class Change(Question):
    """What is to be otherwise when something goes round again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": {"database": "none"}, "timeoutSeconds": 1800}]}
    )

    inputs: Mapping[str, JsonValue] | None = Field(
        default=None, description="replaces these inputs, the others stay; null takes one away"
    )
    timeout_seconds: Annotated[StrictFloat, Field(gt=0, le=30 * 86400)] | None = None
    template_version: Version | None = None


class Cancel(Question):
    """How a run is to stop."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"undo": True}]})

    undo: StrictBool = Field(default=False, description="whether what it did is taken back then")


class BulkCancel(Cancel):
    """Stop all runs that the query chooses."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expectedCount": 12}]})

    expected_count: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="of the preview: nothing is done where it is another by now"
    )


class BulkRetry(Change):
    """Send all failed runs round again that the query chooses."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expectedCount": 3}]})

    expected_count: Annotated[StrictInt, Field(ge=0)] | None = None


class Count(Answer):
    """How many are meant; nothing was done to them."""

    count: int


class BulkRefusal(Answer):
    """A run that was left as it was."""

    run_id: str
    code: str
    message: str
    status: RunStatus | None = None


class BulkResult(Answer):
    """What was done to how many."""

    count: int = Field(description="how many were chosen")
    done: int
    left: int = Field(description="chosen and not done any more: this request has its limit")
    refused: tuple[BulkRefusal, ...] = ()
