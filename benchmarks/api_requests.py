"""Runs accepted over HTTP, beside flow runs that Prefect's server creates; both on PostgreSQL.

An answer of ours, 202, means that the run is committed, with its jobs, its plan and its audit; one
of Prefect's, 201, that a row of a flow run is: one of a flow, and one of a deployment, whose
parameters it checks as we do inputs. The same load asks all, in turns and each alone, as Prefect does
for seconds what it has put off: sixteen connections, ten seconds each, the same two cores for the
load, the server and its database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial

import httpx

from benchmarks.api_site import ApiSite, api_site
from benchmarks.http_load import Load, load, request
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from tests.services import running_postgres

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CONNECTIONS = 16
ROUNDS = 2
WARM_SECONDS = 2.0
TARGET = 3.0


def main() -> tuple[Ratio, ...]:
    """Print both, and their ratio."""
    # Durable, as in production: an accepted run outlives the machine's loss of power.
    ours, theirs, deployed = Load(), Load(), Load()
    with running_postgres(durable=True, contrib=True) as postgres:
        for _ in range(ROUNDS):
            with api_site(postgres) as site:
                ours += _warm(partial(_ours, site))
            with local_server(postgres):
                theirs += _warm(_of_a_flow())
            with local_server(postgres):
                deployed += _warm(_of_a_deployment())
    print(f"POST /runs, microservice        {ours}")
    print(f"Prefect: a flow run             {theirs}")
    print(f"Prefect: one of a deployment    {deployed}")
    ratios = (
        Ratio("runs accepted / flow runs Prefect creates", ours.rate / theirs.rate, TARGET, True),
        Ratio("runs accepted / those of a deployment", ours.rate / deployed.rate, TARGET, True),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


def _warm(way: Callable[[float], Load]) -> Load:
    way(WARM_SECONDS)  # the first requests of a process find nothing prepared
    return way(SECONDS / ROUNDS)


def _ours(site: ApiSite, seconds: float) -> Load:
    url = site.at("/runs")

    def ask(number: int) -> bytes:
        inputs = {"service_name": f"orders-{number}"}
        body = {"templateRecipeId": "microservice", "projectId": "shop", "inputs": inputs}
        return request("POST", url, site.headers, json.dumps(body).encode())

    return load(site.url, ask, 202, seconds=seconds, connections=CONNECTIONS)


def _of_a_flow() -> Callable[[float], Load]:
    flow = _prefect("/flows/", {"name": "bench"})
    state = {"type": "SCHEDULED", "name": "Scheduled"}
    return partial(_created, "/flow_runs/", {"flow_id": flow, "state": state})


def _of_a_deployment() -> Callable[[float], Load]:
    flow = _prefect("/flows/", {"name": "bench"})
    schema = {"type": "object", "properties": {"service_name": {"type": "string"}}}
    made = {"name": "bench", "flow_id": flow, "parameter_openapi_schema": schema}
    deployment = _prefect("/deployments/", {**made, "enforce_parameter_schema": True})
    return partial(_created, f"/deployments/{deployment}/create_flow_run", {})


def _prefect(path: str, body: dict[str, object]) -> str:
    """The id of what it has made."""
    return httpx.post(f"{os.environ['PREFECT_API_URL']}{path}", json=body).json()["id"]


def _created(path: str, more: dict[str, object], seconds: float) -> Load:
    api_url, headers = os.environ["PREFECT_API_URL"], {"Content-Type": "application/json"}

    def ask(number: int) -> bytes:
        name = f"orders-{number}"
        body = {"name": name, "parameters": {"service_name": name}, **more}
        return request("POST", f"{api_url}{path}", headers, json.dumps(body).encode())

    return load(api_url, ask, 201, seconds=seconds, connections=CONNECTIONS)


if __name__ == "__main__":
    main()
