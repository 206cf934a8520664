"""How a transaction leaves something to be done after it is committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import RunTransaction


def leave(
    tx: RunTransaction,
    topic: str,
    key: str,
    payload: Mapping[str, Any],
    now: datetime,
    after: timedelta = timedelta(0),
) -> OutboxMessage:
    """Have it done once this transaction is committed; the same topic and key is done once."""
    message = OutboxMessage(
        id=new_id("msg"),
        tenant_id=tx.tenant_id,
        topic=topic,
        key=key,
        payload=payload,
        created_at=now,
        not_before=now + after,
    )
    tx.add_message(message)
    return message
