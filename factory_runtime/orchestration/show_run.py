"""Show an ended run in Prefect's UI: a summary, a table of artifacts, a link per repository."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.flow_runs import show_status
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.settle import settle
from factory_runtime.ports import Clock, RunStore

_MARKUP = re.compile(r"([\\`*_\[\]|#])")

_NOT_IN_KEYS = re.compile(r"[^a-z0-9-]+")
"""A template's name may have more than Prefect allows in an artifact's key."""

PROGRESS = "progress"
"""Key of the artifact that shows what share of the jobs has ended."""


class RunShowcase:
    """Handles the outbox topics ``prefect.show-run`` and ``prefect.show-status``."""

    def __init__(self, store: RunStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def show(self, message: OutboxMessage) -> None:
        """Publish an ended run's artifacts, and see to it that Prefect's states are ours.

        A run that never reached Prefect has nothing to be shown on.

        Raises:
            PrefectUnavailableError: no server answers, or the flow run is still ending.
        """
        run_id = str(message.payload["run_id"])
        with self._store.begin(message.tenant_id, read_only=True) as tx:
            run = tx.get_run(run_id)
            if run.flow_run_id is None or not run.ended:
                return  # sent round again: its next end leaves a message of its own
            jobs = tx.list_jobs(run_id)
            attempts = tx.list_attempts(run_id)
            artifacts = tx.list_artifacts(run_id=run_id)
        try:
            settle(run, run.flow_run_id, attempts, self._clock.now())
        except GoneError:
            return  # somebody deleted the flow run
        flow_run_id = UUID(run.flow_run_id)
        _finish_progress(run, jobs, flow_run_id)
        for wanted in _wanted(run, jobs, artifacts, flow_run_id):
            ask("POST", "/artifacts/", wanted.model_dump(mode="json", exclude_unset=True))

    def show_status(self, message: OutboxMessage) -> None:
        """Have Prefect show what an open run is now; one that has ended is ``show``'s.

        Raises:
            PrefectUnavailableError: no server answers.
        """
        run, shown = self._get(message), None
        if run.ended:
            return
        # What moved meanwhile may have told Prefect so before us: the last word has to be right.
        while shown is None or run.version != shown.version:
            show_status(run)
            run, shown = self._get(message), run

    def _get(self, message: OutboxMessage) -> Run:
        with self._store.begin(message.tenant_id, read_only=True) as tx:
            return tx.get_run(str(message.payload["run_id"]))


def _finish_progress(run: Run, jobs: Sequence[Job], flow_run_id: UUID) -> None:
    """Bring the progress artifact to its end; a short run has none yet."""
    share = round(100 * sum(job.ended for job in jobs) / (len(jobs) or 1), 1)
    mine = {
        "artifacts": {"key": {"any_": [PROGRESS]}},
        "flow_runs": {"id": {"any_": [str(flow_run_id)]}},
    }
    for found in ask("POST", "/artifacts/filter", mine):
        ask("PATCH", "/artifacts/{id}", {"data": share}, id=found["id"])
        return
    made = ArtifactCreate(
        key=PROGRESS,
        type="progress",
        description=f"Jobs of {run.id} that have ended",
        data=share,
        flow_run_id=flow_run_id,
    )
    ask("POST", "/artifacts/", made.model_dump(mode="json", exclude_unset=True))


def _wanted(
    run: Run, jobs: Sequence[Job], artifacts: Sequence[Artifact], flow_run_id: UUID
) -> list[ArtifactCreate]:
    name = _NOT_IN_KEYS.sub("-", run.template_id)
    wanted = [
        ArtifactCreate(
            key=f"{name}-summary",
            type="markdown",
            description=f"What became of {run.id}",
            data=summary_of(run, jobs),
            flow_run_id=flow_run_id,
        ),
        ArtifactCreate(
            key=f"{name}-artifacts",
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
            data=f"[{plain_text(repository.name)}]({repository.uri})",
            flow_run_id=flow_run_id,
        )
        for position, repository in enumerate(repositories, start=1)
    ]


def summary_of(run: Run, jobs: Sequence[Job]) -> str:
    """A run's Markdown page; what others wrote stands in it as text."""
    lines = [
        f"## {plain_text(run.template_id)} {plain_text(run.template_version)}: {run.status}",
        "",
        f"`{run.id}` for `{plain_text(run.tenant_id)}/{plain_text(run.project_id)}`,"
        f" asked for by {plain_text(run.requested_by)}",
        *([f"It undoes `{run.undoes}`."] if run.undoes is not None else []),
        "",
        "| job | status | attempts | seconds | render |",
        "|---|---|---:|---:|---|",
    ]
    lines += [_row(job) for job in jobs]
    if run.error:
        lines += ["", f"**{plain_text(run.error)}**"]
    return "\n".join(lines)


def _row(job: Job) -> str:
    seconds = ""
    if job.started_at is not None and job.completed_at is not None:
        seconds = f"{(job.completed_at - job.started_at).total_seconds():.2f}"
    render = {True: "cached", False: "rendered", None: ""}[job.cached]
    return f"| {plain_text(job.step)} | {job.status} | {job.attempt} | {seconds} | {render} |"


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


def plain_text(value: str) -> str:
    """Text that somebody else wrote, harmless in Markdown and in a table's cell."""
    # Quotes are harmless in text; as entities their `#` would be escaped once more.
    return _MARKUP.sub(r"\\\1", html.escape(value, quote=False)).replace("\n", "<br>")
