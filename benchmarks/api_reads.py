"""Runs listed over HTTP by project and status: one tenant's, beside those of many others.

A million runs of 200 tenants lie in PostgreSQL; the same list is asked for before those of the
others are there, and after. Beside it Prefect's ``flow_runs/filter`` by state over 100,000 flow
runs, which has no tenants to tell apart.
"""

from __future__ import annotations

import json
import os

import httpx
import sqlalchemy as sa

from benchmarks.api_site import TENANT, ApiSite, api_site
from benchmarks.http_load import Load, load, request
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from benchmarks.sweep import a_run
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import open_run_store
from factory_runtime.run_store.tables import runs
from tests.services import running_postgres

SECONDS = float(os.environ.get("BENCH_SECONDS", "6"))
TENANTS = 200
RUNS = int(os.environ.get("BENCH_RUNS", "1000000"))
FLOW_RUNS = RUNS // 10
CONNECTIONS = 2
"""As many as there are cores: with more, it is the queue for them that is measured."""
TARGET_MILLISECONDS = 20.0


def main() -> tuple[Ratio, ...]:
    """Print all three, and what they come to."""
    with running_postgres(contrib=True) as postgres:
        with api_site(postgres) as site:
            _fill(site, [TENANT])
            alone = _listed(site)
            _fill(site, [f"t{number:03}" for number in range(TENANTS - 1)])
            among = _listed(site)
        with local_server(postgres):
            theirs = _prefects()
    each = RUNS // TENANTS
    print(f"GET /runs of {each:,} runs, alone           {alone}")
    print(f"GET /runs of {each:,} among {RUNS:,}     {among}")
    print(f"Prefect: flow_runs/filter of {FLOW_RUNS:,}   {theirs}")
    ratios = (
        Ratio("p95 of a list among others', ms", among.quantile(0.95) * 1e3, TARGET_MILLISECONDS),
        Ratio("p95 among others' / alone", among.quantile(0.95) / alone.quantile(0.95), 1.5),
        Ratio("p95 of ours / Prefect's", among.quantile(0.95) / theirs.quantile(0.95)),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


def _listed(site: ApiSite) -> Load:
    url = site.at("/runs?project=p3&status=Failed&limit=50")
    answer = httpx.get(url, headers=site.headers).json()
    assert len(answer["items"]) == 50, answer
    asked = request("GET", url, site.headers)
    return load(site.url, lambda _: asked, 200, seconds=SECONDS, connections=CONNECTIONS)


def _fill(site: ApiSite, tenants: list[str]) -> None:
    """As many runs for each of these tenants: of ten projects, a tenth of them Failed."""
    store = open_run_store(site.database_url)
    try:
        model = a_run(RunStatus.SUCCEEDED)
        with store.begin(model.tenant_id) as tx:
            tx.add_run(model)
        with store.engine.begin() as connection:
            _copy(connection, model.tenant_id, model.id, tenants)
        with store.engine.connect() as connection:  # as autovacuum does
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM ANALYZE runs")
    finally:
        store.close()


def _copy(connection: sa.Connection, tenant_id: str, run_id: str, tenants: list[str]) -> None:
    others = {
        "tenant_id": "t",
        "id": "'run-' || t || '-' || n",
        "project_id": "'p' || (n % 10)",
        "status": "CASE WHEN n % 100 < 10 THEN 'Failed' ELSE 'Succeeded' END",
        "requested_at": "requested_at - n * interval '1 second'",
        "completed_at": "requested_at - n * interval '1 second'",
        "flow_run_id": "NULL",
        "correlation_id": "'c-' || t || '-' || n",
        "trace_id": "md5(t || n)",
    }
    names = [column.name for column in runs.columns]
    values = ", ".join(others.get(name, f'"{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    connection.execute(
        sa.text(
            f"INSERT INTO runs ({columns}) SELECT {values} FROM runs,"  # noqa: S608 - ours
            " unnest(CAST(:tenants AS text[])) t, generate_series(1, :each) n"
            " WHERE tenant_id = :tenant AND id = :run"
        ),
        {"tenants": tenants, "each": RUNS // TENANTS, "tenant": tenant_id, "run": run_id},
    )


def _prefects() -> Load:
    api_url = os.environ["PREFECT_API_URL"]
    flow = httpx.post(f"{api_url}/flows/", json={"name": "bench"}).json()["id"]
    state = {"type": "FAILED", "name": "Failed"}
    made = httpx.post(f"{api_url}/flow_runs/", json={"flow_id": flow, "state": state}).json()["id"]
    engine = sa.create_engine(_database())
    with engine.connect() as connection:
        _copy_flow_runs(connection, made)
    engine.dispose()
    wanted = {
        "sort": "START_TIME_DESC",
        "limit": 50,
        "flow_runs": {"state": {"type": {"any_": ["FAILED"]}}},
    }
    body = json.dumps(wanted).encode()
    headers = {"Content-Type": "application/json"}
    asked = request("POST", f"{api_url}/flow_runs/filter", headers, body)
    return load(api_url, lambda _: asked, 200, seconds=SECONDS, connections=CONNECTIONS)


def _database() -> str:
    url = os.environ["PREFECT_API_DATABASE_CONNECTION_URL"]
    return url.replace("+asyncpg", "+psycopg")


def _copy_flow_runs(connection: sa.Connection, made: str) -> None:
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    names = [
        row[0]
        for row in connection.execute(
            sa.text(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_name = 'flow_run' AND is_generated = 'NEVER'"
            )
        )
    ]
    others = {
        "id": "gen_random_uuid()",
        "name": "name || n",
        "state_id": "NULL",
        "idempotency_key": "NULL",
        "start_time": "now() - n * interval '1 second'",
        "state_type": "CAST(CASE WHEN n % 10 = 0 THEN 'FAILED' ELSE 'COMPLETED' END AS state_type)",
    }
    values = ", ".join(others.get(name, f'"{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    connection.execute(
        sa.text(
            f"INSERT INTO flow_run ({columns}) SELECT {values} FROM flow_run,"  # noqa: S608 - ours
            " generate_series(1, :count) n WHERE id = CAST(:made AS uuid)"
        ),
        {"count": FLOW_RUNS, "made": made},
    )
    connection.exec_driver_sql("VACUUM ANALYZE flow_run")


if __name__ == "__main__":
    main()
