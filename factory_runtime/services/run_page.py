"""Where people look at a run."""

from __future__ import annotations

from dataclasses import dataclass

from factory_runtime.domain.run import Run
from factory_runtime.wire.paths import API_PREFIX


@dataclass(frozen=True, slots=True)
class RunPages:
    """Pages of runs, as the settings have them.

    Attributes:
        page: an address with ``{run}`` or ``{flow_run}`` in it.
        public_url: of the API, which tells of a run where nobody says otherwise.
    """

    page: str | None = None
    public_url: str | None = None

    def of(self, run: Run) -> str | None:
        """The address; None where none is known, or not yet."""
        if self.page is None:
            api = self.public_url and self.public_url.removesuffix(API_PREFIX)
            return None if api is None else f"{api}{API_PREFIX}/runs/{run.id}"
        if "{flow_run}" in self.page and run.flow_run_id is None:
            return None
        return self.page.replace("{run}", run.id).replace("{flow_run}", run.flow_run_id or "")
