"""A factory that is served: its commands are typed beside it, or by its API."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from cli.main import main
from cli.person import person, person_groups
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.end_run import end_run
from tests.api.laid_out import LaidOut
from tests.api.site import ApiSite, somebody
from tests.cli_home import Said
from tests.factory import until

MAKES = ("--set", "service_name=orders")
HURRY = timedelta(seconds=0.2)


@dataclass
class Far:
    """A factory, served; its commands typed here beside it, or by its API."""

    site: ApiSite
    url: str
    laid: LaidOut
    key: str
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str] | None = None

    def typed(self, *words: str, url: str | None = None, key: str | None = None) -> Said:
        """By the API, there or elsewhere, with this key or another."""
        with self.patch.context() as patch:
            patch.setenv("FACTORY_API_URL", url or self.url)
            patch.setenv("FACTORY_API_KEY", key or self.key)
            return self.here(*words)

    def here(self, *words: str) -> Said:
        assert self.capsys is not None
        self.capsys.readouterr()
        code = main(words)
        captured = self.capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def run(self, **asked: Any) -> str:
        return self.site.run(self.site.client(somebody()), **asked)

    def at_work(self, do: Callable[[str], None]) -> None:
        """Do it to the next run that is asked for, as whoever executes runs."""
        with self.site.store.begin("acme", read_only=True) as tx:
            known = {run.id for run in tx.list_runs(RunFilter(), limit=1000).items}

        def look() -> bool:
            with self.site.store.begin("acme", read_only=True) as tx:
                new = [run.id for run in tx.list_runs(RunFilter()).items if run.id not in known]
            for run_id in new:
                do(run_id)
            return bool(new)

        threading.Thread(target=until, args=(look, "a run is asked for"), daemon=True).start()

    def end(self, run_id: str, status: RunStatus, reason: str) -> None:
        runtime = self.site.runtime
        end_run(runtime.store, runtime.clock, "acme", run_id, status, reason)

    def status(self, run_id: str) -> RunStatus:
        return self.site.stands("acme", run_id).status


def me(tenant: str = "acme", role: Role = Role.ADMIN) -> Principal:
    """Who types, as the API knows them."""
    return Principal(person(), tenant, (Grant(role),), person_groups())
