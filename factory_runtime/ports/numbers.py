"""What monitoring reads of the run store: numbers over all tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol


class Line(NamedTuple):
    """How many stand in a line, and since when the one that has waited longest."""

    length: int
    since: datetime


class EndedRun(NamedTuple):
    """A run that ended lately; ``status`` as its row says it."""

    template_id: str
    status: str
    requested_at: datetime
    completed_at: datetime


class EndedJob(NamedTuple):
    """A job of such a run; it has no times where it never began.

    Attributes:
        cached: whether what it made was taken from the cache.
    """

    type: str
    status: str
    cached: bool
    started_at: datetime | None
    completed_at: datetime | None


class EndedUse(NamedTuple):
    """Such a run that was shown memories: how many, and how many of them it used."""

    status: str
    shown: int
    used: int


@dataclass(frozen=True, slots=True)
class FactoryNumbers:
    """The factory at one moment. Statuses are as the rows say them.

    Attributes:
        open_runs: by status.
        queue: runs that want a slot, by priority.
        slots_taken: runs that have one.
        topics: jobs that wait until fewer of their type are at work, by type.
        leases: jobs at work, by type.
        lost_leases: of those, the ones whose worker gave no sign in time.
        letters: dead letters that are open, by type of job.
        outbox: what commits left to be done and is not, by topic.
        open_breakers: hosts that nothing is asked of now, by name; of how many tenants.
        ended_runs: the latest first: those since the time that was asked for, or as many as were.
        ended_jobs: of these runs.
        ended_uses: of those of these runs that were shown anything.
        summaries: how often a language model was asked for prose today, and how often in vain, by
            ``asked`` and ``failed``.
        unindexed: memories that the index does not have as they are now; None is none.
    """

    open_runs: Mapping[str, int]
    queue: Mapping[str, Line]
    slots_taken: int
    topics: Mapping[str, Line]
    leases: Mapping[str, int]
    lost_leases: int
    letters: Mapping[str, int]
    outbox: Mapping[str, Line]
    open_breakers: Mapping[str, int]
    ended_runs: tuple[EndedRun, ...]
    ended_jobs: tuple[EndedJob, ...]
    ended_uses: tuple[EndedUse, ...] = ()
    unindexed: Line | None = None
    summaries: Mapping[str, int] = field(default_factory=dict[str, int])


class NumberRecords(Protocol):
    """The run store, for monitoring."""

    def check(self) -> None:
        """Return where the store answers a new connection, and its tables are there.

        Raises:
            StoreUnavailableError: it does not answer.
            CorruptStoreError: its tables are older than this code, or not ours.
        """
        ...

    def numbers(
        self, now: datetime, *, since: datetime, most: int, seen_after: datetime
    ) -> FactoryNumbers:
        """The numbers now.

        It reads what is open, and no more of what has ended than it tells of.

        Args:
            now: the time.
            since: what ended then or later is told of.
            most: how many runs of these, the latest first.
            seen_after: jobs that nobody saw in line since then wait no longer.
        """
        ...

    def unindexed_line(self) -> Line | None:
        """Memories that the index does not have as they are now; None is none."""
        ...

    def outbox_lines(self) -> Mapping[str, Line]:
        """What commits left to be done and is not, by topic."""
        ...
