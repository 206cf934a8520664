"""Show an ended run in Prefect's UI: a summary, a table of artifacts, a link per repository."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.states import state_of
from factory_runtime.ports import Clock, RunStore

_MARKUP = re.compile(r"([\\`*_\[\]|#])")

PROGRESS = "progress"
"""Key of the artifact that shows what share of the jobs has ended."""

_ENDING = timedelta(seconds=10)
"""How long a flow gets to tell Prefect of its end itself."""


class RunShowcase:
    """Handles the outbox topic ``prefect.show-run``."""

    def __init__(self, store: RunStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def show(self, message: OutboxMessage) -> None:
        """Publish the run's artifacts; a run that never reached Prefect has none to publish.

        Raises:
            PrefectUnavailableError: no server answers.
        """
        run_id = str(message.payload["run_id"])
        with self._store.begin(message.tenant_id) as tx:
            run = tx.get_run(run_id)
            jobs = tx.list_jobs(run_id)
            artifacts = tx.list_artifacts(run_id=run_id)
        if run.flow_run_id is None:
            return
        flow_run_id = UUID(run.flow_run_id)
        try:
            with get_client(sync_client=True) as client:
                self._agree(client, run, flow_run_id)
                _finish_progress(client, run, jobs, flow_run_id)
                for wanted in _wanted(run, jobs, artifacts, flow_run_id):
                    body = wanted.model_dump(mode="json", exclude_unset=True)
                    client.request("POST", "/artifacts/", json=body)
        except ObjectNotFound:
            return  # somebody deleted the flow run: there is nothing to show it on
        except (httpx.HTTPError, PrefectHTTPStatusError, OSError) as exc:
            raise PrefectUnavailableError(f"the run {run.id} is not shown: {exc}") from exc

    def _agree(self, client: SyncPrefectClient, run: Run, flow_run_id: UUID) -> None:
        """See to it that Prefect's state is ours, where the flow could not say so itself.

        A server that was down when the flow ended, or a killed executor, leaves it Running for ever.
        """
        state = client.read_flow_run(flow_run_id).state
        if state is not None and state.is_final():
            return
        if run.completed_at is not None and self._clock.now() - run.completed_at < _ENDING:
            raise PrefectUnavailableError(f"the flow run of {run.id} is still ending")
        client.set_flow_run_state(flow_run_id, state_of(run), force=True)


def _finish_progress(
    client: SyncPrefectClient, run: Run, jobs: Sequence[Job], flow_run_id: UUID
) -> None:
    """Bring the progress artifact to its end; a short run has none yet."""
    share = round(100 * sum(job.ended for job in jobs) / (len(jobs) or 1), 1)
    mine = {
        "artifacts": {"key": {"any_": [PROGRESS]}},
        "flow_runs": {"id": {"any_": [str(flow_run_id)]}},
    }
    for found in client.request("POST", "/artifacts/filter", json=mine).json():
        client.request(
            "PATCH", "/artifacts/{id}", path_params={"id": found["id"]}, json={"data": share}
        )
        return
    made = ArtifactCreate(
        key=PROGRESS,
        type="progress",
        description=f"Jobs of {run.id} that have ended",
        data=share,
        flow_run_id=flow_run_id,
    )
    client.request("POST", "/artifacts/", json=made.model_dump(mode="json", exclude_unset=True))


def _wanted(
    run: Run, jobs: Sequence[Job], artifacts: Sequence[Artifact], flow_run_id: UUID
) -> list[ArtifactCreate]:
    wanted = [
        ArtifactCreate(
            key=f"{run.template_id}-summary",
            type="markdown",
            description=f"What became of {run.id}",
            data=summary_of(run, jobs),
            flow_run_id=flow_run_id,
        ),
        ArtifactCreate(
            key=f"{run.template_id}-artifacts",
            type="table",
            description=f"What {run.id} made",
            data=_table(artifacts),
            flow_run_id=flow_run_id,
        ),
    ]
    repositories = [a for a in artifacts if a.kind is ArtifactKind.REPOSITORY]
    return wanted + [
        ArtifactCreate(
            key=f"repository-{position}",
            type="markdown",
            description=f"git clone {repository.uri}",
            data=f"[{_text(repository.name)}]({repository.uri})",
            flow_run_id=flow_run_id,
        )
        for position, repository in enumerate(repositories, start=1)
    ]


def summary_of(run: Run, jobs: Sequence[Job]) -> str:
    """A run's Markdown page; what others wrote stands in it as text."""
    lines = [
        f"## {_text(run.template_id)} {_text(run.template_version)}: {run.status}",
        "",
        f"`{run.id}` for `{_text(run.tenant_id)}/{_text(run.project_id)}`,"
        f" asked for by {_text(run.requested_by)}",
        "",
        "| job | status | attempts | seconds | render |",
        "|---|---|---:|---:|---|",
    ]
    lines += [_row(job) for job in jobs]
    if run.error:
        lines += ["", f"**{_text(run.error)}**"]
    return "\n".join(lines)


def _row(job: Job) -> str:
    seconds = ""
    if job.started_at is not None and job.completed_at is not None:
        seconds = f"{(job.completed_at - job.started_at).total_seconds():.2f}"
    render = {True: "cached", False: "rendered", None: ""}[job.cached]
    return f"| {_text(job.step)} | {job.status} | {job.attempt} | {seconds} | {render} |"


def _table(artifacts: Sequence[Artifact]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "id": artifact.id,
            "step": artifact.step,
            "kind": artifact.kind.value,
            "name": artifact.name,
            "uri": artifact.uri,
            "bytes": artifact.size,
            "sha256": artifact.sha256,
        }
        for artifact in artifacts
    ]
    return json.dumps(rows)  # Prefect wants a table as JSON text


def _text(value: str) -> str:
    """Text that somebody else wrote, harmless in Markdown and in a table's cell."""
    # Quotes are harmless in text; as entities their `#` would be escaped once more.
    return _MARKUP.sub(r"\\\1", html.escape(value, quote=False)).replace("\n", "<br>")
