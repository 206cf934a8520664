"""The share with the artifacts is away: jobs that need it are tried again, and lose nothing."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.disk import disk_error
from factory_runtime.domain.errors import StorageAwayError
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store.records import ATTEMPTS
from tests.factory import until
from tests.recovery.core_site import CoreSite
from tests.recovery.core_worker import CoreWorker

LARGE = "name: large, type: fill, needs: [first], with: {bytes: 100000}"
"""Outputs that go to artifact storage."""


class Share:
    """A folder that a link leads to, as to what is mounted elsewhere."""

    def __init__(self, place: Path) -> None:
        self._mounted = place.with_name("share")
        self._gone = place.with_name("unmounted")
        self._mounted.mkdir()
        place.symlink_to(self._mounted)

    def go_away(self) -> None:
        self._mounted.rename(self._gone)

    def come_back(self) -> None:
        self._gone.rename(self._mounted)


def test_a_job_that_needs_the_share_waits_for_it_and_succeeds(
    tmp_path: Path, sqlite_url: str
) -> None:
    with closing(CoreSite(sqlite_url, tmp_path / "home")) as site, ThreadPoolExecutor(1) as beside:
        home = site.orders.home
        share, begun, go_on = Share(home / "artifacts"), home / "begun", home / "go-on"
        gated = f"{{file: '{site.lines('first')}', begun: '{begun}', gate_before: '{go_on}'}}"
        site.template(
            f"name: first, type: touch, with: {gated}",
            f"{LARGE}, retry: {{max_attempts: 9, delays: [1s], jitter: 0}}",
        )
        run = site.request()
        work = beside.submit(CoreWorker(site.core).work_off)
        until(begun.exists, "the run is at work")
        share.go_away()
        go_on.touch()
        until(lambda: any(one.error for one in site.rows(ATTEMPTS)), "the share is missed")
        share.come_back()
        work.result()
        large = [one for one in site.rows(ATTEMPTS) if one.step == "large"]
        first, *_, last = sorted(large, key=lambda attempt: attempt.number)
        assert (first.outcome, first.error_code) == (Outcome.TRANSIENT, "storage-away")
        assert last.outcome is Outcome.SUCCEEDED
        assert site.run(run).status is RunStatus.SUCCEEDED
        site.assert_whole()


def test_what_lies_on_a_share_that_is_away_is_neither_gone_nor_made_anew(tmp_path: Path) -> None:
    share = Share(place := tmp_path / "artifacts")
    storage = LocalArtifactStorage(place)
    digest = storage.put("acme", b"body").digest
    share.go_away()
    for ask in (storage.read, storage.exists, storage.verify, storage.delete):
        with pytest.raises(StorageAwayError):
            ask("acme", digest)
    with pytest.raises(StorageAwayError):
        storage.put("acme", b"another")
    share.come_back()
    assert storage.read("acme", digest) == b"body"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_share_that_lost_its_server_may_be_asked_again(tmp_path: Path, code: int) -> None:
    # The system's own words, of a network that no test has.
    assert isinstance(disk_error(OSError(code, os.strerror(code)), tmp_path), StorageAwayError)
