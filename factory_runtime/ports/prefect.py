"""What the core asks of Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from factory_runtime.domain.run import Run


class Launcher(Protocol):
    """Asks Prefect for flow runs. The only thing the core wants of it.

    Raises, from every method: PrefectUnavailableError where no server answers.
    """

    def launch(self, run: Run) -> str:
        """The id of the run's flow run, ready to be executed: made, or its old one once more.

        Idempotent by run id. A flow run that somebody deleted is made anew.

        Raises:
            CancelledError: somebody cancelled it in Prefect: it is left as it is.
            HostRejectedError: Prefect answers that it cannot take this one, and will again.
        """
        ...

    def show_status(self, run: Run) -> None:
        """Have Prefect show the state that is the run's status; a deleted flow run is let be."""
        ...

    def find_cancelled(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        """Those of the flow runs that somebody cancelled, or is cancelling, in Prefect."""
        ...
