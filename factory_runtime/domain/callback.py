"""Callbacks: addresses that are told when runs have ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.run import Run, RunStatus

MOST_OF_TENANT = 100
"""Callbacks of more than one run that a tenant may have told: each end writes a message for each."""
MOST_OF_RUN = 5
"""Callbacks of one run alone."""


@dataclass(frozen=True, slots=True)
class Callback:
    """An address that is told of ends by a signed POST.

    Attributes:
        project_id: whose runs it is told of; None is all of the tenant's.
        statuses: the ends that it is told of; none is every one.
        secret: what its messages are signed with, sealed.
        run_id: the one run that it is told of; None is any.
        reason: why it is told no more.
    """

    tenant_id: str
    id: str
    url: str
    secret: str
    created_at: datetime
    created_by: str
    project_id: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    run_id: str | None = None
    disabled_at: datetime | None = None
    reason: str | None = None

    def wants(self, run: Run) -> bool:
        """Whether it is told of the end of this run."""
        return (
            self.disabled_at is None
            and self.run_id in (None, run.id)
            and self.project_id in (None, run.project_id)
            and (not self.statuses or run.status in self.statuses)
        )
