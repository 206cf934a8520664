"""A Hold: a person's word that something is kept, whatever its time is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class HoldScope(StrEnum):
    """What is held: one artifact, or all that a run made."""

    RUN = "run"
    ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as recorded. While it stands, what it is on does not expire.

    Attributes:
        subject_id: the run's id, or the artifact's.
        project_id: of the run.
        reason: why, in the person's words.
        released_at: since when it stands no more; None while it stands.
    """

    tenant_id: str
    id: str
    scope: HoldScope
    subject_id: str
    project_id: str
    reason: str
    created_at: datetime
    created_by: str
    released_at: datetime | None = None
    released_by: str | None = None


@dataclass(frozen=True, slots=True)
class DyingBody:
    """A body that nothing refers to, marked to be deleted once nobody can be about to refer to it.

    Whoever comes upon the body meanwhile takes the mark away, and so keeps it.

    Attributes:
        digest: its name in artifact storage.
    """

    tenant_id: str
    digest: str
    marked_at: datetime
