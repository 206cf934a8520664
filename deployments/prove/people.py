"""People for a proof: whoever is asked in a sandbox says yes, so that what is behind it is proved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.approval import GROUP, Approval, ApprovalStatus
from factory_runtime.domain.errors import ConflictError
from factory_runtime.domain.run import Run
from factory_runtime.services.approvals import decide


def see_run(runtime: Runtime, tenant_id: str, run_id: str) -> Run:
    """How the run stands; what it asks of people is granted."""
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        run = tx.get_run(run_id)
        asked = tx.list_approvals(status=ApprovalStatus.OPEN, run_id=run_id)
    for approval in asked:
        for person, groups in _people(approval, runtime.clock.now()):
            with suppress(ConflictError):  # enough of them have said so, or the run has ended
                decide(
                    runtime.store, runtime.clock, tenant_id, approval.id, person, groups, True, ""
                )
    return run


def _people(approval: Approval, now: datetime) -> Iterator[tuple[str, tuple[str, ...]]]:
    """As many as have to grant it, of those who may."""
    deciders = approval.deciders(now)
    yield from ((name, ()) for name in deciders if not name.startswith(GROUP))
    groups = tuple(name.removeprefix(GROUP) for name in deciders if name.startswith(GROUP))
    if groups or not deciders:
        yield from ((f"prover-{number}", groups) for number in range(1, approval.count + 1))
