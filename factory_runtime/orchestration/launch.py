"""Ask Prefect for the flow run of a run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import FlowRunCreate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Pending, to_state_create

from factory_runtime.domain.errors import HostRejectedError, PrefectUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.labels import RUN_ID, TENANT_ID, TRACE_ID

_LATER = frozenset({401, 403, 404, 408, 429})
"""Answers below 500 that are not about the run: of a server that is busy, or not set up yet."""


class PrefectLauncher:
    """Implements ports.Launcher. One client for its life: making one costs 20 ms."""

    def __init__(self, inputs_of: Any) -> None:
        """``inputs_of`` gives a run's inputs: they are its flow run's parameters."""
        self._inputs_of = inputs_of
        self._client: SyncPrefectClient | None = None
        self._flow_ids: dict[str, str] = {}

    def launch(self, run: Run) -> str:
        """Create the flow run, idempotent by run id and cycle; its id.

        Raises:
            PrefectUnavailableError: no server answers.
            HostRejectedError: it answers that it cannot take this one, and will again.
        """
        try:
            if self._client is None:
                self._client = get_client(sync_client=True)
            return self._create(self._client, run)
        except (httpx.HTTPError, PrefectHTTPStatusError, OSError) as exc:
            self._client = None
            if isinstance(exc, httpx.HTTPStatusError) and _is_about_the_run(exc):
                raise HostRejectedError(
                    f"Prefect refuses the flow run of {run.id} with {exc.response.status_code}",
                    hint="if its inputs are larger than 512 KiB, that is why: give less",
                ) from exc
            raise PrefectUnavailableError(
                f"Prefect could not make a flow run for {run.id}: {exc}",
                hint="`factory doctor` tells whether the server answers",
            ) from exc

    def _create(self, client: SyncPrefectClient, run: Run) -> str:
        known = self._flow_ids.pop(run.template_id, None)
        if known is not None:
            try:
                return self._create_for(client, run, known)
            except httpx.HTTPStatusError:
                pass  # perhaps the server has a new database: ask for the flow again
        flow = client.request("POST", "/flows/", json={"name": run.template_id})
        return self._create_for(client, run, str(flow.json()["id"]))

    def _create_for(self, client: SyncPrefectClient, run: Run, flow_id: str) -> str:
        wanted = FlowRunCreate(
            flow_id=UUID(flow_id),
            flow_version=run.template_version,
            name=run.id,
            parameters=self._inputs_of(run),
            labels={RUN_ID: run.id, TENANT_ID: run.tenant_id, TRACE_ID: run.trace_id},
            tags=[f"tenant:{run.tenant_id}", f"project:{run.project_id}"],
            idempotency_key=f"{run.id}:{run.cycle}",
            state=to_state_create(Pending()),
        )
        answer = client.request(
            "POST", "/flow_runs/", json=wanted.model_dump(mode="json", exclude_unset=True)
        )
        self._flow_ids[run.template_id] = flow_id
        return str(answer.json()["id"])


def _is_about_the_run(error: httpx.HTTPStatusError) -> bool:
    status = error.response.status_code
    return 400 <= status < 500 and status not in _LATER
