"""Tell addresses that runs have ended: one signed POST for each try.

Signed as Standard Webhooks has it; the id stays the same over all tries.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from standardwebhooks import Webhook

from factory_runtime.domain.callback import Callback
from factory_runtime.domain.errors import FactoryError, HostBusyError
from factory_runtime.domain.records import OutboxMessage, RunEvent
from factory_runtime.jobs.outside_http import ask
from factory_runtime.services.callbacks import Callbacks, outside_name, outside_of
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.telemetry.trace_context import TraceContext, root_span_id, trace_headers
from factory_runtime.telemetry.tracing import is_sampled

GIVEN_UP = "callback-given-up"
"""The kind of event that says that an address was not told of a run."""

GIVE_UP_AFTER = timedelta(days=3)
TRIES = 5
"""How often it was asked by then at the least: whoever asks may have been down meanwhile."""
OVER_AFTER = timedelta(days=7)

_LOG = logging.getLogger("factory.callbacks")


@dataclass(frozen=True)
class CallbackSender:
    """Handles ``CALLBACK``."""

    callbacks: Callbacks

    def send(self, message: OutboxMessage) -> None:
        """Try once to tell an address; one that was removed is told nothing.

        Raises:
            HostBusyError: it was not taken; the message is to be tried again later.
            DataRefusedError: the address may not be asked; likewise, an operator may list it.
            GivenUpError: as these, and it has been tried for three days; or the address is gone.
        """
        with self.callbacks.store.begin(message.tenant_id, read_only=True) as tx:
            callback = tx.get_callback(str(message.payload["callback_id"]))
        if callback.disabled_at is not None:
            return
        event: Mapping[str, Any] = message.payload["event"]
        try:
            status = self._post(callback, message.id, event)
        except FactoryError as error:
            tries, age = message.attempts + 1, self.callbacks.clock.now() - message.created_at
            if age < GIVE_UP_AFTER or (tries < TRIES and age < OVER_AFTER):
                raise
            why = f"given up after {tries} tries: {error}"
            self._note(callback, event, why)
            raise GivenUpError(why) from error
        if status == HTTPStatus.GONE:
            self._note(callback, event, "it answered 410: it is told no more", disable=True)
            raise GivenUpError("the address is gone")

    def _post(self, callback: Callback, message_id: str, event: Mapping[str, Any]) -> int:
        body = json.dumps(event, separators=(",", ":"))
        now = self.callbacks.clock.now()
        signer = Webhook(self.callbacks.open_box().unseal(callback.secret))
        trace_id, run_id = str(event["data"]["traceId"]), str(event["data"]["runId"])
        context = TraceContext(trace_id, root_span_id(run_id), is_sampled(trace_id))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signer.sign(message_id, now, body),
            **trace_headers(context),
        }
        outside = outside_of(self.callbacks.hosts)
        answer = ask(outside, callback.url, method="POST", headers=headers, content=body.encode())
        if answer.status == HTTPStatus.GONE or 200 <= answer.status < 300:
            return answer.status
        raise HostBusyError(f"{outside_name(callback.url)} answers {answer.status}")

    def _note(
        self, callback: Callback, event: Mapping[str, Any], why: str, *, disable: bool = False
    ) -> None:
        """Write it into the run's history."""
        _LOG.warning("callback %s: %s", callback.id, why)
        now, tenant_id = self.callbacks.clock.now(), callback.tenant_id
        run_id = str(event["data"]["runId"])
        detail = {"callback": callback.id, "error": why}
        with self.callbacks.store.begin(tenant_id) as tx:
            tx.add_event(RunEvent(tenant_id, run_id, now, GIVEN_UP, detail=detail))
            if disable:
                tx.save_callback(replace(callback, disabled_at=now, reason=why))


def host_of(message: OutboxMessage) -> str:
    """Callbacks of one host wait for each other, and for no other's."""
    return str(message.payload["host"])
