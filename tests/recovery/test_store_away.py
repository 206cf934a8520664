"""PostgreSQL is stopped, or hangs: the API says so at once, and goes on by itself."""

from __future__ import annotations

import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from factory_runtime.run_store import open_run_store
from tests.api.site import ApiSite, somebody
from tests.factory import until
from tests.services import OwnPostgres, running_postgres

pytestmark = pytest.mark.service

SHOWN = "seen"
RUNS = "/api/v1/runs"
ASKED = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}


@pytest.fixture(scope="module")
def server() -> Generator[OwnPostgres]:
    """A server of this module's own, that keeps what it has committed."""
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def site(server: OwnPostgres, tmp_path: Path) -> Generator[ApiSite]:
    with server.database() as url, closing(open_run_store(url)) as store:
        yield ApiSite(tmp_path, url, store, metrics_token=SHOWN)


@pytest.fixture
def client(site: ApiSite) -> Generator[TestClient]:
    """One event loop for all of a test's requests, as a server has."""
    with site.client(somebody()) as client:
        yield client


@contextmanager
def hanging(server: OwnPostgres) -> Generator[None]:
    """The server and all its sessions stand still; connections to it stay as they are."""
    postmaster = psutil.Process(int((server.folder / "data/postmaster.pid").read_text().split()[0]))
    parts = [postmaster, *postmaster.children(recursive=True)]
    for part in parts:
        part.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for part in reversed(parts):
            part.send_signal(signal.SIGCONT)


def assert_away(answer: Any) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"].endswith("store-unavailable")


def assert_told(client: TestClient) -> None:
    """What others than the store answer for is answered, and says how it is."""
    until(lambda: client.get("/health").status_code == 503, "what was seen before is old")
    health = client.get("/health")
    assert health.json()["status"] == "unhealthy"
    assert health.json()["components"]["runStore"] == "unhealthy"
    assert health.json()["components"]["factoryApi"] == "healthy"
    assert "details" not in health.json()  # nobody can be known now
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200
    numbers = client.get("/metrics", headers={"Authorization": f"Bearer {SHOWN}"})
    assert "factory_run_store_up 0.0" in numbers.text
    assert client.get("/metrics").status_code == 503


def test_while_the_server_is_stopped_requests_are_refused_and_then_answered_again(
    site: ApiSite, client: TestClient, server: OwnPostgres
) -> None:
    run = site.run(client)
    server.stop(immediate=True)
    try:
        assert_away(client.get(f"{RUNS}/{run}"))
        assert_away(client.post(RUNS, json=ASKED))
        assert_told(client)
    finally:
        server.start()
    assert client.get(f"{RUNS}/{run}").status_code == 200
    assert len(client.get(RUNS).json()["items"]) == 1


def test_while_the_server_hangs_requests_are_answered_and_what_was_asked_is_done_once(
    site: ApiSite, client: TestClient, server: OwnPostgres
) -> None:
    site.run(client)
    keyed = {"Idempotency-Key": "k1"}
    with hanging(server), ThreadPoolExecutor(4) as callers:
        # None of these would end while it hangs; afterwards they find the gate shut.
        asked = [callers.submit(client.post, RUNS, json=ASKED, headers=keyed)]
        asked += [callers.submit(client.get, RUNS) for _ in range(3)]
        for answer in asked:
            assert_away(answer.result())
        assert_away(client.get(RUNS))
        assert_told(client)
    first = client.post(RUNS, json=ASKED, headers=keyed)
    assert first.status_code == 202, first.text
    assert client.post(RUNS, json=ASKED, headers=keyed).json() == first.json()
    assert len(client.get(RUNS).json()["items"]) == 2
    assert client.get("/health/ready").status_code == 200


def test_a_process_that_starts_while_the_server_is_away_serves_once_it_is_there(
    site: ApiSite, client: TestClient, server: OwnPostgres
) -> None:
    del site.runtime.__dict__["store"]
    with hanging(server):
        assert_away(client.get(RUNS))
    server.stop()
    try:
        assert_away(client.get(RUNS))
    finally:
        server.start()
    until(lambda: client.get(RUNS).status_code == 200, "the store is seen again")
    site.store.close()
