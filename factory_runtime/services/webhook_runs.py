"""What a delivery begins: one run for each template that it matches, however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from factory_runtime.compiler.triggers import answers, inputs_of_event
from factory_runtime.domain.errors import (
    ExpressionError,
    FactoryError,
    RequestConflictError,
    TransientError,
)
from factory_runtime.domain.run import RunRequest
from factory_runtime.domain.template import WebhookTrigger
from factory_runtime.domain.webhook import Begun, WebhookDelivery, WebhookSource
from factory_runtime.ports import ArtifactStorage, RunFilter
from factory_runtime.services.azure_resource import AzureResources
from factory_runtime.services.bodies import from_body, to_body
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.request_run import request_run
from factory_runtime.services.webhook_triggers import TriggerBook
from factory_runtime.telemetry.tracing import current_trace_id


@dataclass(frozen=True)
class RunBeginner:
    """Requests the runs of deliveries. One process at a time is at one delivery."""

    desk: RequestDesk
    triggers: TriggerBook
    resources: AzureResources

    @property
    def storage(self) -> ArtifactStorage:
        return self.desk.storage

    def begin(
        self, source: WebhookSource, delivery: WebhookDelivery, *, fresh: bool
    ) -> tuple[Begun, ...]:
        """What the delivery comes to with every template that it matches.

        Args:
            source: that sent it.
            delivery: held by the caller.
            fresh: nobody has tried before.

        Raises:
            TransientError: not now; what was begun stays so, and is found again.
        """
        kept = from_body(self.storage, delivery.tenant_id, delivery.event)
        event = event_scope(cast("Mapping[str, Any]", kept), source.name)
        return tuple(
            self._begin(source, delivery, name, trigger, event, fresh=fresh)
            for name, trigger in self.triggers.triggers(source.tenant_id)
            if trigger.source in (source.name, source.kind.value) and answers(trigger, event)
        )

    def with_resource(self, source: WebhookSource, delivery: WebhookDelivery) -> WebhookDelivery:
        """The delivery with what its source's organisation says of it, in place of a hint."""
        kept = from_body(self.storage, delivery.tenant_id, delivery.event)
        hint = cast("Mapping[str, Any]", kept)
        if hint.get("fetched"):
            return delivery
        resource = self.resources.fetch(source, hint["body"])
        body = {"id": hint["id"], "eventType": hint["type"], "resource": resource}
        event = to_body(self.storage, delivery.tenant_id, {**hint, "body": body, "fetched": True})
        return replace(delivery, event=event)

    def _begin(
        self,
        source: WebhookSource,
        delivery: WebhookDelivery,
        template: str,
        trigger: WebhookTrigger,
        event: Mapping[str, Any],
        *,
        fresh: bool,
    ) -> Begun:
        """One run, however often this is tried: by the delivery and the template."""
        request = RunRequest(
            tenant_id=source.tenant_id,
            project_id=source.project_id,
            template=template,
            inputs={},
            requested_by=f"webhook:{source.name}",
            idempotency_key=f"webhook:{source.id}:{delivery.replay_key}:{template}",
            trace_id=current_trace_id(),
            delivery_id=delivery.delivery_id,
        )
        if not fresh and (refused := self._find_refused(request, delivery)):
            return refused
        try:
            return Begun(template, self._request(request, inputs_of_event(trigger, event)))
        except TransientError:
            raise
        except ExpressionError as error:
            return Begun(template, error=error.explain())
        except FactoryError as error:
            return Begun(template, error.run_id, error.explain())

    def _request(self, request: RunRequest, inputs: Mapping[str, Any]) -> str:
        try:
            return request_run(self.desk, replace(request, inputs=inputs)).id
        except RequestConflictError:
            # The template's map says something else by now; the run that it began stands.
            with self.desk.store.begin(request.tenant_id, read_only=True) as tx:
                known = tx.find_request(cast("str", request.idempotency_key))
            if known is None:
                raise
            return known.run_id

    def _find_refused(self, request: RunRequest, delivery: WebhookDelivery) -> Begun | None:
        """The refusal that a killed process recorded: it has no idempotency key."""
        where = RunFilter(
            template_id=request.template,
            requested_by=request.requested_by,
            outside_id=request.delivery_id,
            since=delivery.asked_at,
        )
        with self.desk.store.begin(request.tenant_id, read_only=True) as tx:
            runs = tx.list_runs(where, limit=1).items
        if not runs or runs[0].plan is not None:
            return None
        return Begun(request.template, runs[0].id, runs[0].error)


def event_scope(kept: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """An event as expressions read it: the members of its body, and what it is of every kind."""
    body = kept["body"]
    members = dict(cast("Mapping[str, Any]", body)) if isinstance(body, Mapping) else {}
    return {**members, "id": kept["id"], "type": kept["type"], "source": source, "body": body}
