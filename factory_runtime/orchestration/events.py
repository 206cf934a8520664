"""Tell Prefect of notices as events, so that automations can be built on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from factory_runtime.domain.notice import Notice, notice_from_payload
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.prefect_api import ask
from factory_runtime.ports import RunStore

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}")
"""An id, a status, a version: what no sentence, markup or secret of somebody else's looks like."""


class NoticeEvents:
    """Handles the outbox topic ``prefect.event``."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def tell(self, message: OutboxMessage) -> None:
        """Record the event ``factory.<kind>``. Told again after a kill, it has the same id.

        Its resource is ``factory.run.<id>``, or ``factory.tenant.<id>`` where it is about no run;
        the tenant and the flow run are related to it.

        Raises:
            PrefectUnavailableError: no server answers.
            RunNotFoundError: the run is gone.
        """
        notice = notice_from_payload(message.payload)
        run = None
        if notice.run_id is not None:
            with self._store.begin(message.tenant_id, read_only=True) as tx:
                run = tx.get_run(notice.run_id)
        ask("POST", "/events", [event_of(notice, run)])


def event_of(notice: Notice, run: Run | None) -> dict[str, Any]:
    """The event as the API takes it: facts of ours alone, never the words of a notice."""
    tenant = {
        "prefect.resource.id": f"factory.tenant.{notice.tenant_id}",
        "prefect.resource.role": "tenant",
    }
    resource = {"prefect.resource.id": tenant["prefect.resource.id"]}
    if run is not None:
        resource = {
            "prefect.resource.id": f"factory.run.{run.id}",
            "prefect.resource.name": run.id,
            "factory.template": f"{run.template_id}:{run.template_version}",
        }
    return {
        "id": str(uuid5(NAMESPACE_URL, f"factory:{notice.tenant_id}:{notice.key}")),
        "occurred": notice.at.isoformat(),
        "event": f"factory.{notice.kind.value}",
        "resource": resource,
        "related": [tenant, *_flow_run_of(run)],
        "payload": {
            "key": notice.key,
            "severity": notice.severity.value,
            "tenant": notice.tenant_id,
            "facts": _safe(notice.facts),
        },
    }


def _flow_run_of(run: Run | None) -> list[dict[str, str]]:
    if run is None or run.flow_run_id is None:
        return []
    flow_run = {
        "prefect.resource.id": f"prefect.flow-run.{run.flow_run_id}",
        "prefect.resource.role": "flow-run",
        "prefect.resource.name": run.id,
    }
    return [flow_run]


def _safe(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and text that is an id: a tenant's own words do not go into Prefect."""
    return {name: fact for name, fact in facts.items() if _is_safe(fact)}


def _is_safe(fact: Any) -> bool:
    return (
        _WORD.fullmatch(fact) is not None
        if isinstance(fact, str)
        else isinstance(fact, int | float)
    )
