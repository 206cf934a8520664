"""Write down what somebody decided, in the transaction that does it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import AuditEntry
from factory_runtime.ports import RunTransaction
from factory_runtime.telemetry.tracing import current_trace_id

SYSTEM = "system"
"""Does what nobody asks for."""

CLI = "cli"
"""The origin of what is typed on the factory's own machines."""


_LONGEST = 200
"""Of an origin: a proxy that is trusted may hand on whatever it was told."""


@dataclass(frozen=True, slots=True)
class _Acting:
    origin: str | None = None
    key_id: str | None = None


_acting: ContextVar[_Acting | None] = ContextVar("acting", default=None)


@contextmanager
def acting(origin: str | None, key_id: str | None = None) -> Generator[None]:
    """Have what is done in this block, and in threads begun from it in its context, say whence.

    Args:
        origin: an address, or ``CLI``.
        key_id: the API key's that was shown.
    """
    before = _acting.set(_Acting(None if origin is None else origin[:_LONGEST], key_id))
    try:
        yield
    finally:
        _acting.reset(before)


def act_from(origin: str) -> None:
    """Likewise for all that this process does from now on in this context."""
    _acting.set(_Acting(origin))


def leave_audit(
    tx: RunTransaction,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
    *,
    trace_id: str | None = None,
) -> None:
    """Add one entry, like ``run.undo`` of a run's id; ``docs/audit.md`` lists the actions.

    Args:
        tx: the one that does it.
        actor: who.
        action: what.
        subject: to what, by id.
        detail: facts of ours and what the person gave as a reason.
        now: when.
        trace_id: of the request, where it is not the one this process is in.
    """
    # What the factory does by itself nobody asks for, whichever process it is done in.
    asked = (None if actor == SYSTEM else _acting.get()) or _Acting()
    entry = AuditEntry(
        tx.tenant_id,
        new_id("aud"),
        now,
        actor,
        action,
        subject,
        detail,
        origin=asked.origin,
        key_id=asked.key_id,
        trace_id=trace_id or current_trace_id(),
    )
    tx.add_audit([entry])
