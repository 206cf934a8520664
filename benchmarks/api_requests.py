"""Runs accepted over HTTP, beside flow runs that Prefect's server creates; both on PostgreSQL.

An answer of ours, 202, means that the run is committed, with its jobs, its plan and its audit; one
of Prefect's, 201, that a row of a flow run is. The same load asks both: sixteen connections, ten
seconds, the same two cores for the load, the server and its database.
"""

from __future__ import annotations

import json
import os

import httpx

from benchmarks.api_site import ApiSite, api_site
from benchmarks.http_load import Load, load, request
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from tests.services import running_postgres

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CONNECTIONS = 16
TARGET = 3.0


def main() -> tuple[Ratio, ...]:
    """Print both, and their ratio."""
    # Durable, as in production: an accepted run outlives the machine's loss of power.
    with running_postgres(durable=True, contrib=True) as postgres:
        with api_site(postgres) as site:
            _ours(site, 3.0)  # the first requests of a process find nothing prepared
            ours = _ours(site, SECONDS)
        with local_server(postgres):
            _prefects(1.0)
            theirs = _prefects(SECONDS)
    print(f"POST /runs, microservice       {ours}")
    print(f"Prefect: create a flow run     {theirs}")
    ratio = Ratio(
        "runs accepted / flow runs Prefect creates", ours.rate / theirs.rate, TARGET, True
    )
    print(ratio)
    return (ratio,)


def _ours(site: ApiSite, seconds: float) -> Load:
    url = site.at("/runs")

    def ask(number: int) -> bytes:
        inputs = {"service_name": f"orders-{number}"}
        body = {"templateRecipeId": "microservice", "projectId": "shop", "inputs": inputs}
        return request("POST", url, site.headers, json.dumps(body).encode())

    return load(site.url, ask, 202, seconds=seconds, connections=CONNECTIONS)


def _prefects(seconds: float) -> Load:
    api_url = os.environ["PREFECT_API_URL"]
    flow = httpx.post(f"{api_url}/flows/", json={"name": "bench"}).json()["id"]
    headers = {"Content-Type": "application/json"}

    def ask(number: int) -> bytes:
        state = {"type": "SCHEDULED", "name": "Scheduled"}
        body = {
            "flow_id": flow,
            "name": f"orders-{number}",
            "parameters": {"service_name": f"orders-{number}"},
            "state": state,
        }
        return request("POST", f"{api_url}/flow_runs/", headers, json.dumps(body).encode())

    return load(api_url, ask, 201, seconds=seconds, connections=CONNECTIONS)


if __name__ == "__main__":
    main()
