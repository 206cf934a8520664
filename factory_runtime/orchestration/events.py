"""Tell Prefect of notices and signals as events, so that automations can be built on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from factory_runtime.domain.notice import Notice, NoticeKind, notice_from_payload
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.prefect_api import ask
from factory_runtime.ports import RunStore
from factory_runtime.services.signals import Signal, Signals, signals_of

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}")
"""An id, a status, a version: what no sentence, markup or secret of somebody else's looks like."""

_NAMES = {
    NoticeKind.DEAD_LETTER: "dead-letter.alerted",
    NoticeKind.APPROVAL_WANTED: "approval.wanted",
    NoticeKind.RUN_STUCK: "run.stuck",
}
"""Events that go with notices; that of an end is called by how the run ended."""

_ID = "prefect.resource.id"
_ROLE = "prefect.resource.role"
_NAME = "prefect.resource.name"


class PrefectEvents:
    """Handles the outbox topics ``prefect.event`` and ``prefect.signals``.

    Told again after a kill, an event has the same id, and Prefect keeps it once. Its resource is
    ``factory.run.<run>``, ``factory.job.<run>:<step>`` or ``factory.dead-letter.<letter>``, or
    ``factory.tenant.<tenant>`` where it is about no run; what it belongs to is related to it.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def tell_notice(self, message: OutboxMessage) -> None:
        """Record the event of a notice.

        Raises:
            PrefectUnavailableError: no server answers.
            RunNotFoundError: the run is gone.
        """
        notice = notice_from_payload(message.payload)
        run = None if notice.run_id is None else self._run(notice.tenant_id, notice.run_id)
        ask("POST", "/events", [notice_event(notice, run)])

    def tell_signals(self, messages: Sequence[OutboxMessage]) -> None:
        """Record the events of changes of runs and jobs, all in one question.

        Raises:
            PrefectUnavailableError: no server answers.
            RunNotFoundError: the run of one of them is gone.
        """
        events: list[dict[str, Any]] = []
        for told in map(signals_of, messages):
            run = self._run(told.tenant_id, told.run_id)
            events += [signal_event(told, one, run) for one in told.signals]
        ask("POST", "/events", events)

    def _run(self, tenant_id: str, run_id: str) -> Run:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return tx.get_run(run_id)


def notice_event(notice: Notice, run: Run | None) -> dict[str, Any]:
    """The event as the API takes it: facts of ours alone, never the words of a notice."""
    tenant = _tenant(notice.tenant_id)
    payload = {"key": notice.key, "severity": notice.severity.value}
    return _event(
        f"{notice.tenant_id}:{notice.key}",
        _name_of(notice),
        notice.at,
        tenant if run is None else _run_resource(run),
        [_as(tenant, "tenant")] if run is None else _around(run),
        {**payload, "tenant": notice.tenant_id, "facts": _safe(notice.facts)},
    )


def signal_event(told: Signals, signal: Signal, run: Run) -> dict[str, Any]:
    """The event as the API takes it, about the dead letter, the job or the run."""
    resources = [_run_resource(run)]
    if signal.step is not None:
        job = {_ID: f"factory.job.{run.id}:{signal.step}", _NAME: signal.step}
        resources.insert(0, job)
    if signal.letter_id is not None:
        letter = {_ID: f"factory.dead-letter.{signal.letter_id}", _NAME: signal.letter_id}
        resources.insert(0, letter)
    about, *within = resources
    facts = _safe(signal.facts)
    labels = {f"factory.{name.replace('_', '-')}": str(fact) for name, fact in facts.items()}
    return _event(
        f"{told.tenant_id}:{told.key}:{signal.name}",
        signal.name,
        told.at,
        # Automations can choose by labels, and not by what the payload says.
        {**labels, **about},
        [*(_as(one, one[_ID].split(".")[1]) for one in within), *_around(run)],
        {"key": told.key, "tenant": told.tenant_id, "facts": facts},
    )


def _event(
    key: str,
    name: str,
    at: datetime,
    resource: Mapping[str, str],
    related: list[dict[str, str]],
    payload: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "id": str(uuid5(NAMESPACE_URL, f"factory:{key}")),
        "occurred": at.isoformat(),
        "event": f"factory.{name}",
        "resource": resource,
        "related": related,
        "payload": payload,
    }


def _name_of(notice: Notice) -> str:
    if notice.kind is NoticeKind.RUN_COMPLETE:
        return f"run.{str(notice.facts['status']).lower()}"
    return _NAMES[notice.kind]


def _run_resource(run: Run) -> dict[str, str]:
    template = f"{run.template_id}:{run.template_version}"
    return {_ID: f"factory.run.{run.id}", _NAME: run.id, "factory.template": template}


def _tenant(tenant_id: str) -> dict[str, str]:
    return {_ID: f"factory.tenant.{tenant_id}"}


def _as(resource: Mapping[str, str], role: str) -> dict[str, str]:
    return {**resource, _ROLE: role}


def _around(run: Run) -> list[dict[str, str]]:
    """The tenant of a run, and its flow run."""
    around = [_as(_tenant(run.tenant_id), "tenant")]
    if run.flow_run_id is not None:
        flow_run = {_ID: f"prefect.flow-run.{run.flow_run_id}", _NAME: run.id}
        around.append(_as(flow_run, "flow-run"))
    return around


def _safe(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and text that is an id: a tenant's own words do not go into Prefect."""
    return {name: fact for name, fact in facts.items() if _is_safe(fact)}


def _is_safe(fact: Any) -> bool:
    return (
        _WORD.fullmatch(fact) is not None
        if isinstance(fact, str)
        else isinstance(fact, int | float)
    )
