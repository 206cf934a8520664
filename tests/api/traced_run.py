"""A run from its request over HTTP to its commit, in a process of its own: what of it says its trace.

``python -m tests.api.traced_run FOLDER TRACEPARENT`` prints it as JSON; the environment says where
spans and lines of the log go.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run
from factory_runtime.jobs.publishing import publish_layer
from factory_runtime.ports import JobContext
from factory_runtime.run_store import open_run_store
from factory_runtime.services.attempt import Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import admit
from factory_runtime.services.engine import Engine, begin_walk
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.trace_attempt import tell_attempt
from factory_runtime.telemetry import worker_name
from factory_runtime.telemetry.logs import start_logging
from factory_runtime.telemetry.trace_context import trace_headers
from tests.api.site import ApiSite, somebody
from tests.job_types import files
from tests.small_factory import Act


def make(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
    """Commits a file, says so in both logs, and would ask somebody else."""
    del with_
    facts = context.facts
    context.host.ensure_repository(
        facts.tenant_id, facts.project_id, "orders", effect_key=facts.effect_key, description="d"
    )
    result = publish_layer(context, "orders", files(README="hello"), "Add it")
    context.log("made it")
    logging.getLogger("factory.tested").info("attempt %d made %s", facts.attempt, "a tenant's word")
    return JobResult(
        outputs={**result.outputs, "text": json.dumps(trace_headers())},
        artifacts=result.artifacts,
        effects=result.effects,
    )


def execute(site: ApiSite, run: Run) -> None:
    """As the tasks of its jobs do."""
    runtime = site.runtime
    engine = Engine(
        store=site.store,
        storage=runtime.storage,
        host=runtime.host,
        job_types={"act": Act({"make": make})},
        clock=runtime.clock,
        worker=worker_name(),
        environment="tests",
    )
    limits_of = PolicyBook(lambda: site.store, None, runtime.clock).limits_of
    admit(site.store, runtime.clock, run, 4, worker_name(), limits_of)
    walk = begin_walk(engine, run.tenant_id, run.id, "flow-1")
    assert not isinstance(walk, Run)
    for job in walk.plan.jobs:
        begun = begin_attempt(engine, walk, job.name)
        assert isinstance(begun, Begun)
        ended = publish_attempt(engine, walk, begun, None)
        tell_attempt(walk.run, begun, runtime.clock.now(), ended)


def main() -> None:
    folder, traceparent = Path(sys.argv[1]), sys.argv[2]
    start_logging("json", "info")
    url = f"sqlite:///{folder}/factory.db"
    site = ApiSite(folder, url, open_run_store(url))
    client = site.client(somebody())
    asked = client.post(
        "/api/v1/runs",
        json={"templateRecipeId": "service", "inputs": {"service_name": "orders"}},
        headers={"traceparent": traceparent},
    )
    run_id = asked.json()["runId"]
    execute(site, site.stands("acme", run_id))
    told = {"asked": asked.json(), "traceparent": asked.headers["traceparent"]}
    for part in ("", "/jobs", "/events", "/logs", "/artifacts"):
        told[part] = client.get(f"/api/v1/runs/{run_id}{part}").json()
    told["/all-artifacts"] = client.get("/api/v1/artifacts").json()
    commit = site.runtime.host.find_commit(
        "acme", "default", "orders", (("Factory-Run", run_id), ("Factory-Step", "make"))
    )
    assert commit is not None
    sys.stdout.write(json.dumps({**told, "commit": commit.sha}))


if __name__ == "__main__":
    main()
