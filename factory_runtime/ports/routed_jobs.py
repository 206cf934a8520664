"""Jobs that are done by a worker of another queue than their run's."""

from __future__ import annotations

from typing import Protocol

from factory_runtime.domain.job import Job


class RoutedJobRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    def note_route(self, job: Job, flow_run_id: str | None, phrase: str) -> bool:
        """Write down how it goes with a job that was sent elsewhere; its version stays.

        False where it does not wait there in this version any more.

        Args:
            job: as it was read.
            flow_run_id: Prefect's, that may claim it; None where it could not be made.
            phrase: what it waits for, for people.
        """
        ...
