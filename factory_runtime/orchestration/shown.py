"""Prefect's part of the outbox."""

from __future__ import annotations

from collections.abc import Mapping

from factory_runtime.orchestration.events import PrefectEvents
from factory_runtime.orchestration.sent_jobs import SentJobs
from factory_runtime.orchestration.show_run import RunShowcase
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.drain_outbox import Handler, Together
from factory_runtime.services.topics import (
    PREFECT_EVENT,
    SEND_JOB,
    SHOW_RUN,
    SHOW_STATUS,
    SIGNALS,
)


def shown_by_prefect(store: RunStore, clock: Clock) -> Mapping[str, Handler]:
    """The handlers of what Prefect shows and tells; each needs a server that answers."""
    showcase, events = RunShowcase(store, clock), PrefectEvents(store)
    return {
        SHOW_RUN: showcase.show,
        SHOW_STATUS: showcase.show_status,
        PREFECT_EVENT: events.tell_notice,
        SIGNALS: Together(events.tell_signals),
        SEND_JOB: SentJobs(store).send,
    }
