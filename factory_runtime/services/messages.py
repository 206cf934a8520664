"""What transactions leave in the outbox, to be done after they are committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.notice import Notice, notice_to_payload
from factory_runtime.domain.records import EffectStatus, OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction
from factory_runtime.services.topics import (
    MEMORY_OF_RUN,
    NOTICE,
    PREFECT_EVENT,
    SETTLE_EFFECTS,
    SHOW_RUN,
    SHOW_STATUS,
)

_LATE = timedelta(seconds=30)
"""How long a job that was cut off may still be within its call to a host: longer than its grace."""


def leave_endings(tx: RunTransaction, run: Run, now: datetime) -> None:
    """After the end of a run: remember it, show it, and settle effects that were only intended."""
    cycle = f"{run.id}:{run.cycle}"
    for topic in (MEMORY_OF_RUN, SHOW_RUN):
        leave(tx, topic, cycle, {"run_id": run.id}, now)
    if tx.list_effects(run_id=run.id, status=EffectStatus.INTENDED, limit=1):
        leave(tx, SETTLE_EFFECTS, cycle, {"run_id": run.id}, now, after=_LATE)


def leave_status(tx: RunTransaction, run: Run, now: datetime) -> None:
    """After a move that its flow run could not tell Prefect of itself."""
    leave(tx, SHOW_STATUS, f"{run.id}:{run.version}", {"run_id": run.id}, now)


def leave_notice(tx: RunTransaction, notice: Notice) -> None:
    """Tell people of it, by the tenant's policy, and Prefect as an event."""
    for topic in (NOTICE, PREFECT_EVENT):
        leave(tx, topic, notice.key, notice_to_payload(notice), notice.at)


def leave(
    tx: RunTransaction,
    topic: str,
    key: str,
    payload: Mapping[str, Any],
    now: datetime,
    after: timedelta = timedelta(0),
) -> None:
    """Have it done once this transaction is committed; the same topic and key is done once."""
    tx.add_message(
        OutboxMessage(
            id=new_id("msg"),
            tenant_id=tx.tenant_id,
            topic=topic,
            key=key,
            payload=payload,
            created_at=now,
            not_before=now + after,
        )
    )
