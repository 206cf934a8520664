"""What the core asks of Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from factory_runtime.domain.run import Run


class Launcher(Protocol):
    """Asks Prefect for flow runs. The only thing the core wants of it.

    Raises, from every method: PrefectUnavailableError where no server answers.
    """

    def launch(self, run: Run) -> str:
        """The id of the run's flow run: made, or its old one once more. No worker begins it yet.

        Idempotent by run id. A flow run that somebody deleted is made anew.

        Raises:
            CancelledError: somebody cancelled it in Prefect: it is left as it is.
            HostRejectedError: Prefect answers that it cannot take this one, and will again.
        """
        ...

    def hand_over(self, run: Run) -> timedelta:
        """Let Prefect's workers begin a launched flow run, once its id is written down.

        Idempotent. The answer is how long they get before it is taken to be left; zero where
        whoever launches it executes it himself.

        Raises:
            CancelledError: somebody cancelled it in Prefect: it is left as it is.
        """
        ...

    def find_unattended(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        """Those of the flow runs that were handed over, and that no worker will begin, or is at."""
        ...

    def show_status(self, run: Run) -> None:
        """Have Prefect show the state that is the run's status; a deleted flow run is let be."""
        ...

    def find_cancelled(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        """Those of the flow runs that somebody cancelled, or is cancelling, in Prefect."""
        ...
