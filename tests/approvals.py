"""Runs that wait for people, in a small factory."""

from __future__ import annotations

from datetime import timedelta

from factory_runtime.domain.approval import Approval, Vote
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import AuditEntry
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunKey
from factory_runtime.services.approvals import Decided, decide
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.put_down import put_down
from tests.builders import TENANT
from tests.small_factory import SmallFactory

ASKS = """
steps:
  - {name: a, type: act}
  - {name: gate, type: approval, needs: [a], with: {message: May it?, by: [grace, "group:ops"]}}
  - {name: b, type: act, needs: [gate]}
"""
DAY = timedelta(days=1)


def asks(**more: object) -> str:
    """A template of one approval, by grace, linus or ops, and one job behind it."""
    given = {"message": "May it?", "by": ["grace", "linus", "group:ops"], **more}
    return f"steps:\n  - {{name: gate, type: approval, with: {given}}}\n  - {{name: b, type: act, needs: [gate]}}\n"


def waiting(factory: SmallFactory, text: str = ASKS) -> Run:
    """A run that waits for people, with no process."""
    walk = factory.start(text)
    for name in factory.ready(walk):
        factory.attempt(walk, name)
    for name in factory.ready(walk):
        if walk.jobs[name].status is JobStatus.PENDING:
            factory.attempt(walk, name)
    dues = [job.not_before for job in factory.jobs(walk.run).values() if job.not_before]
    return put_down(factory.engine, walk, RunStatus.WAITING, min(dues))


def approval_of(factory: SmallFactory, run: Run) -> Approval:
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.list_approvals(run_id=run.id)[-1]


def votes_of(factory: SmallFactory, approval: Approval) -> tuple[Vote, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_votes(approval.id)


def audit_of(factory: SmallFactory, approval: Approval) -> tuple[AuditEntry, ...]:
    with factory.store.begin(TENANT, read_only=True) as tx:
        return tx.list_audit(subject=approval.id)


def vote(
    factory: SmallFactory,
    approval: Approval,
    person: str = "grace",
    *groups: str,
    granted: bool = True,
    comment: str = "",
) -> Decided:
    comment = comment or ("" if granted else "no")
    return decide(
        factory.store, factory.clock, TENANT, approval.id, person, groups, granted, comment
    )


def go_on(factory: SmallFactory, run: Run) -> Run:
    """As a dispatcher and an executor do that find the run in the queue."""
    assert factory.store.waiting_runs(factory.clock.now()) == (RunKey(run.tenant_id, run.id),)
    walk = factory.take_up(run, str(run.flow_run_id))
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    return ended
