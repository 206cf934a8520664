"""Templates deployed to a real Prefect server, and what is begun in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from deployments.register import Deployed, DeployOrder, deploy_template
from deployments.stack import read_state
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.work_pool import ensure_work_pool
from tests.factory import Factory
from tests.prefect_server import Prefect
from tests.recipes import a_source, a_template
from tests.warm_prefect import warm_prefect

TENANT = "acme"


def deploy(factory: Factory, name: str, tenant: str = TENANT, **values: Any) -> Deployed:
    """Deploy a template to the server that this thread's Prefect talks to."""
    ensure_work_pool()
    return deploy_template(factory.runtime, name, DeployOrder(tenant, "tester", **values))


def deployed(factory: Factory, name: str, tenant: str = TENANT, **values: Any) -> str:
    """Prefect's id of the deployment of a small template that is made here."""
    factory.template(name, a_template(name), a_source())
    return deploy(factory, name, tenant, **values).deployment.prefect_id


def unrecorded(factory: Factory, prefect: Prefect, name: str) -> str:
    """One that is made in Prefect alone."""
    factory.template(name, a_template(name), a_source())
    flow = prefect.ask("POST", "/flows/", {"name": name})
    plain = {
        "name": TENANT,
        "flow_id": flow["id"],
        "entrypoint": f"flows.templates.{name}",
        "tags": [f"tenant:{TENANT}"],
    }
    return prefect.ask("POST", "/deployments/", plain)["id"]


def start(prefect: Prefect, deployment_id: str, **body: Any) -> httpx.Response:
    """Start a run in a deployment, as its form does."""
    path = f"{prefect.api_url}/deployments/{deployment_id}/create_flow_run"
    return httpx.post(path, json=body, timeout=30)


def execute(factory: Factory, *started: httpx.Response) -> None:
    """Execute what was started, as Prefect's engine does in a process of its own."""
    ids = [answer.raise_for_status().json()["id"] for answer in started]
    done = warm_prefect().run("tests.engine_process", *ids, environment=_environment(factory))
    assert done.returncode == 0, done.stderr


def prefect_command(
    factory: Factory, *words: str, cwd: Path | None = None, warm: bool = True
) -> subprocess.CompletedProcess[str]:
    """Type `prefect …` as somebody does who knows no `factory`.

    ``warm`` spares it its imports; else it is started as a person's shell does.
    """
    if warm:
        return warm_prefect().run("prefect", *words, environment=_environment(factory), cwd=cwd)
    return subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        env=_environment(factory),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=150,
    )


def _environment(factory: Factory) -> dict[str, str]:
    """Of a process whose own tenant is none that anybody deploys for.

    The stack's executor drains what flow runs leave: it has LanceDB imported already.
    """
    state = read_state(factory.settings)
    assert state is not None
    return factory.environment() | {
        "FACTORY_HOOKS": "false",
        "FACTORY_TENANT": "of-the-settings",
        "FACTORY_PROJECT": "of-the-settings",
        "PREFECT_API_URL": state.api_url,
        "PREFECT_HOME": str(factory.settings.prefect_folder),
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        # The executor's: each client reads all of the system's, and the server speaks plain HTTP.
        "PREFECT_API_SSL_CERT_FILE": str(factory.settings.prefect_folder / "certificate.pem"),
    }


def run_of(factory: Factory, started: httpx.Response, tenant: str = TENANT) -> Run | None:
    """The record that a flow run has left with a tenant."""
    with factory.runtime.store.begin(tenant, read_only=True) as tx:
        return tx.find_run_by_flow_run(started.json()["id"])
