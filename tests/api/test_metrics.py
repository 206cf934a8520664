"""Numbers for Prometheus: they are those of the store, and name nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.measure import counting_together
from api.streams import Streams
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.access import Role
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import MemoryUse
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, RunStatus
from factory_runtime.domain.tally import ASKED, FAILED, Tally
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services import store_metrics
from factory_runtime.settings import HOME_TENANT, Settings
from tests.api.numbers import METRICS, add, have_it_be, numbers_in, numbers_of, of
from tests.api.site import ApiSite, somebody
from tests.builders import (
    NOON,
    TENANT,
    a_breaker,
    a_claimed_job,
    a_failure_kind,
    a_job,
    a_letter,
    a_message,
    a_run,
    after,
)

SHOWN = "seen"
TOLD = {"Authorization": f"Bearer {SHOWN}"}


def test_what_is_open_is_counted_over_all_tenants(site: ApiSite) -> None:
    have_it_be(site, 100)
    add(site, status=RunStatus.VALIDATED, priority=Priority.HIGH)
    add(site, tenant_id="umbrella", status=RunStatus.VALIDATED, requested_at=after(40))
    add(site, a_claimed_job(), status=RunStatus.RUNNING, admitted_at=NOON)
    with site.store.begin(TENANT) as tx:
        tx.add_message(a_message(topic="notice", created_at=after(30)))
        tx.add_message(a_message(topic="notice", done_at=NOON))
        tx.save_breaker(a_breaker(open_until=after(200)))
        tx.save_breaker(a_breaker(host="git", open_until=after(50)))
        wait = TopicWait(TENANT, "r", "s", "chart", Priority.LOW, after(10), after(99))
        tx.save_topic_wait(wait)
        tx.save_topic_wait(replace(wait, step="t", seen_at=after(20)))  # nobody wants it any more
    found = numbers_of(site)
    assert of(found, "factory_run_queue_length", priority="high") == 1
    assert of(found, "factory_run_queue_oldest_seconds", priority="high") == 100
    assert of(found, "factory_run_queue_oldest_seconds", priority="normal") == 60
    assert of(found, "factory_run_queue_length", priority="low") == 0
    assert of(found, "factory_runs_open", status="Validated") == 2
    assert of(found, "factory_runs_open", status="Running") == 1
    assert of(found, "factory_run_slots_taken") == 1
    assert of(found, "factory_jobs_at_work", type="repo-generation") == 1
    assert of(found, "factory_leases_lost") == 1
    assert of(found, "factory_outbox_length", topic="notice") == 1
    assert of(found, "factory_outbox_oldest_seconds", topic="notice") == 70
    assert found["factory_breakers_open"] == {frozenset({("host", "azure-devops")}): 1}
    assert of(found, "factory_topic_queue_length", type="chart") == 1
    assert of(found, "factory_topic_queue_oldest_seconds", type="chart") == 90


def test_open_dead_letters_are_counted_by_type_of_job(site: ApiSite) -> None:
    job = a_job(run := a_run())
    with site.store.begin(TENANT) as tx:
        tx.add_run(run, [job])
        tx.add_failure_kind(a_failure_kind())
        tx.add_dead_letter(a_letter(job))
    assert of(numbers_of(site), "factory_dead_letters_open", type="repo-generation") == 1


def test_what_ended_within_the_hour_is_told_by_template_and_outcome(site: ApiSite) -> None:
    have_it_be(site, 7200)
    made: dict[str, Any] = {"template_id": "service", "completed_at": after(7000)}
    cached = a_job(
        status=JobStatus.SUCCEEDED, cached=True, started_at=after(6990), completed_at=after(7000)
    )
    add(site, cached, status=RunStatus.SUCCEEDED, requested_at=after(6980), **made)
    add(site, a_job(status=JobStatus.FAILED), status=RunStatus.FAILED, **made)
    add(site, status=RunStatus.SUCCEEDED, completed_at=after(3000))  # too long ago
    own = {**made, "template_id": "secret-plans", "requested_at": after(6000)}
    add(site, tenant_id="umbrella", status=RunStatus.SUCCEEDED, **own)
    found = numbers_of(site)
    assert found["factory_recent_runs"] == {
        frozenset({("template", "service"), ("status", "Succeeded")}): 1,
        frozenset({("template", "service"), ("status", "Failed")}): 1,
        frozenset({("template", "other"), ("status", "Succeeded")}): 1,
    }
    seconds = "factory_recent_run_seconds_bucket"
    assert of(found, seconds, template="service", le="15.0") == 0
    assert of(found, seconds, template="service", le="60.0") == 1
    assert of(found, seconds, template="other", le="900.0") == 0
    assert of(found, seconds, template="other", le="+Inf") == 1
    jobs = {"type": "repo-generation", "status": "Succeeded", "cached": "true"}
    assert of(found, "factory_recent_jobs", **jobs) == 1
    assert of(found, "factory_recent_job_seconds_bucket", type="repo-generation", le="5.0") == 0
    assert of(found, "factory_recent_job_seconds_bucket", type="repo-generation", le="15.0") == 1
    assert of(found, "factory_recent_reach_seconds") == 3600


def a_use(run_id: str, memory_id: str, *, used: bool, **values: Any) -> MemoryUse:
    used_at = NOON if used else None
    use = MemoryUse(TENANT, run_id, "plan", memory_id, "shop", 1, 0.9, NOON, used_at)
    return replace(use, **values)


def test_how_much_of_what_ended_used_what_was_known_is_told(small_site: ApiSite) -> None:
    have_it_be(small_site, 100)
    ended: dict[str, Any] = {"completed_at": NOON}
    add(small_site, id="run-good", status=RunStatus.SUCCEEDED, **ended)
    add(small_site, id="run-bad", status=RunStatus.FAILED, **ended)
    add(small_site, id="run-shown", status=RunStatus.SUCCEEDED, **ended)
    add(small_site, id="run-alone", status=RunStatus.SUCCEEDED, **ended)
    add(small_site, id="run-open", status=RunStatus.RUNNING)
    add(small_site, id="run-old", status=RunStatus.SUCCEEDED, completed_at=after(-4000))
    add(small_site, id="run-good", tenant_id="umbrella", status=RunStatus.FAILED, **ended)
    with small_site.store.begin(TENANT) as tx:
        tx.add_uses(
            [
                a_use("run-good", "mem-1", used=True),
                a_use("run-good", "mem-1", used=True, step="other"),
                a_use("run-good", "mem-2", used=False),
                a_use("run-bad", "mem-1", used=True, step=""),
                a_use("run-shown", "mem-3", used=False),
                a_use("run-open", "mem-1", used=True),
                a_use("run-old", "mem-1", used=True),
            ]
        )
    found = numbers_of(small_site)
    assert found["factory_recent_memory_runs"] == {
        frozenset({("use", "shown"), ("status", "Succeeded")}): 2,
        frozenset({("use", "shown"), ("status", "Failed")}): 1,
        frozenset({("use", "used"), ("status", "Succeeded")}): 1,
        frozenset({("use", "used"), ("status", "Failed")}): 1,
    }
    assert of(found, "factory_recent_memories", use="shown") == 4
    assert of(found, "factory_recent_memories", use="used") == 2
    assert of(found, "factory_recent_knowledge_reuse_rate") == 2 / 5
    assert of(found, "factory_recent_reuse_success_rate") == 1 / 2


def test_of_no_runs_no_share_is_told(small_site: ApiSite) -> None:
    found = numbers_of(small_site)
    assert of(found, "factory_recent_memories", use="used") == 0
    assert not found.keys() & {
        "factory_recent_knowledge_reuse_rate",
        "factory_recent_reuse_success_rate",
    }


def test_of_many_runs_the_latest_are_told_of_and_how_far_back_they_reach(
    small_site: ApiSite, monkeypatch: Any
) -> None:
    monkeypatch.setattr(store_metrics, "MOST", 3)
    have_it_be(small_site, 1000)
    for number in range(10):
        add(small_site, status=RunStatus.SUCCEEDED, completed_at=after(100 * number))
    found = numbers_of(small_site)
    assert sum(found["factory_recent_runs"].values()) == 3
    assert of(found, "factory_recent_reach_seconds") == 300


def test_how_often_a_language_model_was_asked_today_is_told(small_site: ApiSite) -> None:
    for tenant_id, about, times, hours in (
        (TENANT, ASKED, 7, 12),
        (TENANT, FAILED, 2, 12),
        (TENANT, "f" * 64, 5, 12),
        ("umbrella", ASKED, 1, 12),
        ("initech", ASKED, 100, -12),
    ):
        with small_site.store.begin(tenant_id) as tx:
            tx.save_tally(Tally(tenant_id, about, times, NOON + timedelta(hours=hours)))
    have_it_be(small_site, 60)
    found = numbers_of(small_site)
    assert of(found, "factory_summaries_today", came="asked") == 8
    assert of(found, "factory_summaries_today", came="failed") == 2


def test_no_tenant_is_named(small_site: ApiSite) -> None:
    add(small_site, tenant_id="umbrella", project_id="hive", status=RunStatus.VALIDATED)
    small_site.client(somebody("umbrella", name="alice")).get("/api/v1/runs")
    text = small_site.client(somebody(HOME_TENANT)).get(METRICS).text
    for name in ("umbrella", "hive", "alice"):
        assert name not in text


def test_numbers_are_for_administrators_and_whoever_has_the_token(
    tmp_path: Path, sqlite_url: str, sqlite_store: Any
) -> None:
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, metrics_token=SHOWN)
    client = site.client()
    assert client.get(METRICS, headers=TOLD).status_code == 200
    for wrong in (b"Bearer saw", b"Bearer ", b"Bearer se\xe9n", b"Basic seen", b"seen"):
        assert client.get(METRICS, headers={b"Authorization": wrong}).status_code == 401
    assert client.get(METRICS).status_code == 401
    for other in (
        somebody(HOME_TENANT, role=Role.VIEWER),
        somebody(HOME_TENANT, project_id="shop"),
        somebody("acme"),
    ):
        assert site.client(other).get(METRICS).status_code == 403
    assert site.client(somebody(HOME_TENANT)).get("/api/v1/metrics").status_code == 200


def test_without_a_token_none_is_good(small_site: ApiSite) -> None:
    for shown in ("Bearer ", "Bearer None", "Bearer"):
        answer = small_site.client().get(METRICS, headers={"Authorization": shown})
        assert answer.status_code == 401


def counted(client: TestClient, **labels: str) -> float:
    found = numbers_in(client.get(METRICS).text)
    return of(found, "factory_api_requests_total", **labels) or 0


def test_requests_are_counted_by_route_whatever_was_asked_for(small_site: ApiSite) -> None:
    client = small_site.client(somebody(HOME_TENANT))
    run = {"method": "GET", "route": "/runs/{runId}", "status": "4xx"}
    other = {"method": "other", "route": "other", "status": "4xx"}
    before = counted(client, **run), counted(client, **other)
    for name in ("run-1", "run-2"):
        client.get(f"/api/v1/runs/{name}")
        client.request(name.upper(), f"/{name}")
    assert counted(client, **run) == before[0] + 2
    assert counted(client, **other) == before[1] + 2


def test_streams_and_connections_are_counted_while_they_are_open(small_site: ApiSite) -> None:
    assert isinstance(small_site.store, SqlRunStore)
    streams, names = Streams(5, 5), ("api_streams_open", "database_connections_in_use")

    def open_now() -> list[float]:
        found = numbers_of(small_site)
        return [of(found, f"factory_{name}") or 0 for name in names]

    before = open_now()
    streams.take("acme")
    with small_site.store.engine.connect():
        assert open_now() == [before[0] + 1, before[1] + 1]
    streams.free("acme")
    assert open_now() == before


@pytest.mark.service
def test_connections_are_as_many_as_the_settings_allow(tmp_path: Path, postgres_url: str) -> None:
    runtime = open_runtime(
        Settings(home=tmp_path, database_url=postgres_url, database_connections=6)
    )
    assert isinstance(runtime.store, SqlRunStore)
    with closing(runtime.store) as store, ExitStack() as taken:
        for _ in range(6):
            taken.enter_context(store.engine.connect())
        text = store.engine.pool.status()
    assert "Pool size: 2" in text
    assert "Current Overflow: 4" in text


_CHILD = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from factory_runtime.telemetry.metrics import IN_FLIGHT, REQUESTS, collectors
REQUESTS.labels("GET", "/runs", "2xx").inc(int(sys.argv[1]))
IN_FLIGHT.inc()
registry = CollectorRegistry()
for collector in collectors():
    registry.register(collector)
print(generate_latest(registry).decode())
"""


def test_one_of_several_processes_tells_of_all_of_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    texts = [
        subprocess.run(
            [sys.executable, "-c", _CHILD, str(count)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in (1, 2)
    ]
    found = numbers_in(texts[1])
    requests = {"method": "GET", "route": "/runs", "status": "2xx"}
    assert of(found, "factory_api_requests_total", **requests) == 3  # what has ended has counted
    assert of(found, "factory_api_requests_in_flight") == 1
    assert len(found["factory_process_threads"]) == 1


def test_processes_count_in_memory_where_there_is_such_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, is_there in ((tmp_path, True), (tmp_path / "nowhere", False)):
        monkeypatch.setattr("api.measure._IN_MEMORY", str(place))
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # to be put back
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
        with counting_together():
            folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
            assert folder.is_dir()
        assert (folder.parent == place) is is_there
