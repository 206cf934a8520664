"""Leave what is told of a run's end, in the transaction that ends it."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from factory_runtime.domain.callback import Callback
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import CALLBACK


def leave_callbacks(tx: RunTransaction, run: Run, now: datetime) -> None:
    """Have every callback told that wants the end of this run."""
    for callback in tx.list_callbacks_of(run):
        if callback.wants(run):
            leave_callback(tx, callback, run, now)


def leave_callback(tx: RunTransaction, callback: Callback, run: Run, now: datetime) -> None:
    """Have one told: of the run as it ended, whatever becomes of it afterwards."""
    from factory_runtime.wire.run import RunSummary  # whoever tells nobody needs no models

    payload = {
        "callback_id": callback.id,
        "host": urlsplit(callback.url).netloc,
        "event": {
            "type": f"run.{run.status.value.lower()}",
            "timestamp": now.isoformat(),
            "data": RunSummary.of(run).model_dump(mode="json", by_alias=True),
        },
    }
    leave(tx, CALLBACK, f"{callback.id}:{run.id}:{run.cycle}", payload, now)
