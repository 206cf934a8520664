"""How long artifacts are kept, as it is asked for and told of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, StrictBool

from factory_runtime.domain.hold import Hold, HoldScope
from factory_runtime.wire.base import Answer, Question

_EXPIRY: dict[str, JsonValue] = {"expiresAt": "2027-01-01T00:00:00Z", "onceDownloaded": True}
_HOLD: dict[str, JsonValue] = {
    "scope": "run",
    "subjectId": "run-01k",
    "reason": "asked for by the auditors",
}


class NewExpiry(Question):
    """When an artifact is to expire."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXPIRY]})

    expires_at: AwareDatetime | None = Field(default=None, description="null is never")
    once_downloaded: StrictBool = Field(
        default=False, description="or an hour after somebody got all of it, if that comes first"
    )


class NewHold(Question):
    """What is to be kept until somebody releases it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOLD]})

    scope: HoldScope
    subject_id: Annotated[str, Field(min_length=1, max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class HoldAnswer(Answer):
    """What is kept, whatever its time is."""

    hold_id: str
    scope: HoldScope
    subject_id: str = Field(description="the run, or the artifact")
    project_id: str
    reason: str
    created_at: datetime
    created_by: str
    released_at: datetime | None = Field(default=None, description="null while it stands")
    released_by: str | None = None

    @classmethod
    def of(cls, hold: Hold) -> HoldAnswer:
        """What its record says."""
        names = set(cls.model_fields) - {"hold_id"}
        return cls(hold_id=hold.id, **{name: getattr(hold, name) for name in names})
