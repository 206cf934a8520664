"""PostgreSQL goes away again and again under many runs: each ends, its effects done once."""

from __future__ import annotations

import random
import secrets
import signal
import threading
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from factory_runtime.domain.errors import StoreUnavailableError
from tests.factory import until
from tests.faults import POINTS, FaultyStore
from tests.recovery.core_ports import Core
from tests.recovery.core_site import CoreSite
from tests.recovery.core_worker import CoreWorker
from tests.services import OwnPostgres, running_postgres

WORKERS = 2
REPOSITORIES = 5
LEASE = 5.0
"""Seconds: longer than a restart takes, so that most writes wait for the store to come back."""


@pytest.fixture
def server() -> Generator[OwnPostgres]:
    """A server of this test's own, that keeps what it has committed."""
    with running_postgres(durable=True) as server:
        yield server


def kill_postmaster(server: OwnPostgres) -> None:
    """SIGKILL, as the system does when memory runs out; its sessions notice and end."""
    postmaster = psutil.Process(int((server.folder / "data/postmaster.pid").read_text().split()[0]))
    sessions = postmaster.children(recursive=True)
    postmaster.send_signal(signal.SIGKILL)
    server.stop()
    # A new one refuses to start beside sessions of the old one. Whoever takes them in may be slow
    # to bury them.
    until(lambda: all(map(_is_gone, sessions)), "the sessions end with their server", 30)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Trouble:
    """What a seed has happen to the server, and to workers."""

    def __init__(self, server: OwnPostgres, seed: int, most: int = 0) -> None:
        """``most`` is how often the server goes away; 0 for as long as there are runs."""
        self.most = most
        self.restarts = self.kills = 0
        self._server = server
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def strike_server(self) -> None:
        if 0 < self.most <= self.restarts:
            return
        if self.restarts % 2 == 0:
            self._server.stop(immediate=True)
        else:
            kill_postmaster(self._server)
        self._server.start()
        self.restarts += 1

    def strike_worker(self, site: CoreSite) -> None:
        """Kill one, and start another in its place."""
        victim = self._chance.choice([w for w in site.workers if w.exitcode is None])
        victim.kill()
        victim.join()
        self.kills += 1
        site.start()

    def rest(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))


def request_all(site: CoreSite, runs: int, trouble: Trouble) -> None:
    """Ask for runs until each is accepted; a request whose answer was lost is not another run.

    Where trouble comes so many times, as many of them come between one and the next.
    """
    names = site.repositories(REPOSITORIES)
    site.template(*site.lines_only(), name="light")
    for number in range(runs):
        # git takes half the time: every fourth run makes a commit.
        template = names[number // 4 % REPOSITORIES] if number % 4 == 0 else "light"
        while trouble.restarts < trouble.most * number // runs:
            time.sleep(0.02)
        accepted = False
        while not accepted:
            with suppress(StoreUnavailableError):
                site.request(template, idempotency_key=f"run-{number}")
                accepted = True


def run_through(
    site: CoreSite, runs: int, trouble: Trouble, *, kills: bool, rest: tuple[float, float]
) -> None:
    """Have so many runs asked for and executed while the trouble goes on."""
    asking = threading.Thread(target=request_all, args=(site, runs, trouble), daemon=True)
    asking.start()
    for _ in range(WORKERS):
        site.start()
    give_up = time.monotonic() + 0.4 * runs + 80
    while asking.is_alive() or not _all_have_ended(site):
        assert time.monotonic() < give_up, site.standing()
        assert not site.gone_wrong(), site.gone_wrong()
        trouble.rest(*rest)
        trouble.strike_server()
        if kills:
            trouble.strike_worker(site)
    site.end()
    assert len(site.runs) == runs


def _all_have_ended(site: CoreSite) -> bool:
    with suppress(StoreUnavailableError, OperationalError):
        return site.open_runs() == 0
    return False


@pytest.mark.service
@pytest.mark.parametrize(
    ("runs", "restarts", "rest"),
    [(16, 3, (0.3, 1.0)), pytest.param(500, 0, (2.0, 5.0), marks=pytest.mark.soak)],
)
def test_runs_under_a_server_that_goes_away_again_and_again_all_succeed_once(
    server: OwnPostgres, tmp_path: Path, runs: int, restarts: int, rest: tuple[float, float]
) -> None:
    orders: dict[str, Any] = {"lease": LEASE, "cap": 4, "at_once": 2, "drains": False}
    with server.database() as url, closing(CoreSite(url, tmp_path / "home", **orders)) as site:
        trouble = Trouble(server, seed=20261121, most=restarts)
        run_through(site, runs, trouble, kills=False, rest=rest)
        assert trouble.restarts >= 3
        site.assert_whole()
        assert [worker.exitcode for worker in site.workers] == [0] * WORKERS


@pytest.mark.soak
@pytest.mark.service
def test_5000_runs_under_a_server_that_goes_away_and_workers_that_are_killed_all_succeed_once(
    server: OwnPostgres, tmp_path: Path
) -> None:
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown where it fails, to try the same again
    orders: dict[str, Any] = {"lease": LEASE, "cap": 4, "at_once": 2}
    with server.database() as url, closing(CoreSite(url, tmp_path / "home", **orders)) as site:
        trouble = Trouble(server, seed)
        run_through(site, 5000, trouble, kills=True, rest=(2.0, 8.0))
        assert trouble.kills >= 10
        site.assert_whole()


@pytest.mark.parametrize(
    ("runs", "rate"), [(10, 0.1), pytest.param(50, 0.05, marks=pytest.mark.soak)]
)
def test_a_store_that_fails_now_and_then_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int, rate: float
) -> None:
    monkeypatch.setattr("factory_runtime.services.steadily._FIRST_WAIT", 0.0)
    with closing(CoreSite(database_url, tmp_path / "home")) as site:
        (name,) = site.repositories(1)
        for _ in range(runs):
            site.request(name)
        core = Core(site.orders, lambda store: FaultyStore(store, seed=3, rate=rate))
        with closing(core.database):
            worker = CoreWorker(core)
            while core.count_open_runs():
                with suppress(StoreUnavailableError):
                    worker.tidy()
                    worker.execute_next()
        assert isinstance(core.store, FaultyStore)
        assert set(core.store.fired) == set(POINTS)
        site.assert_whole()
