"""A factory far away, with one of everything that a page can show."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.desk.local_looks import LocalLooks
from cli.desk.remote_looks import RemoteLooks
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import Body
from factory_runtime.domain.job import JobStatus
from factory_runtime.run_store import open_run_store
from tests.api.laid_out import LaidOut, lay_out
from tests.api.served import Served
from tests.api.site import ApiSite
from tests.builders import a_checkpoint, a_memory, an_attempt, an_event
from tests.far import Far, me
from tests.remembering import remembering_of


@pytest.fixture(scope="module")
def far_away(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite_file: Path
) -> Generator[Far]:
    folder = tmp_path_factory.mktemp("far")
    file, often = folder / "factory.db", "1000000/second"
    shutil.copyfile(migrated_sqlite_file, file)
    url = f"sqlite:///{file}"
    with closing(open_run_store(url)) as store, pytest.MonkeyPatch.context() as patch:
        site = ApiSite(folder, url, store, api_rate=often, api_tenant_rate=often, tenant="acme")
        laid = furnish(site)
        patch.setenv("FACTORY_TENANT", "acme")
        patch.setenv("FACTORY_HOME", str(folder / "home"))
        patch.setattr("factory_runtime.bootstrap.open_runtime", always(site.runtime))
        # As where `factory up` runs: by the API it is not seen that nobody executes runs.
        patch.setattr(LocalLooks, "is_executed", always(True))
        now = site.runtime.clock.now()
        for looks in (LocalLooks, RemoteLooks):  # at the same moment
            patch.setattr(looks, "now", always(now))
        with Served(site.app()) as served:
            yield Far(site, served.url, laid, site.token(me()), patch)


@pytest.fixture
def far(far_away: Far, capsys: pytest.CaptureFixture[str]) -> Far:
    far_away.capsys = capsys
    return far_away


def always(value: Any) -> Callable[..., Any]:
    def give(*_: object) -> Any:
        return value

    return give


def furnish(site: ApiSite) -> LaidOut:
    """One of everything that a page can show."""
    laid = lay_out(site, "shop")
    now = site.runtime.clock.now()
    with site.store.begin("acme") as tx:
        run, job = tx.get_run(laid.failed), tx.get_job(laid.failed, "make")
        tx.add_attempt(
            replace(
                an_attempt(job),
                started_at=now,
                completed_at=now + timedelta(seconds=2),
                outcome=Outcome.PERMANENT,
                error="the host refuses orders",
                traceback=Body("Traceback: here"),
                peak_memory_bytes=3_000_000,
            )
        )
        waits = tx.get_job(laid.waiting, "check")
        lease: dict[str, Any] = {"lease_owner": "here:1-walk", "fencing_token": 1}
        lease["lease_expires_at"] = now + timedelta(hours=1)
        claimed = waits.move_to(JobStatus.RUNNING, now, attempt=1, **lease)
        tx.save_job(waits, claimed)
        tx.save_checkpoint(claimed, a_checkpoint(claimed, saved_at=now))
        said = {"message": "asked the host"}
        tx.add_event(an_event(run, at=now, kind="log", step="make", detail=said))
    one = a_memory(id="mem-1", project_id="shop", outcome="succeeded", text="orders service")
    remembering_of(site.runtime).remember(one)
    return laid
