"""The run store's transaction: dead letters, redrive orders, approvals, policies."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import exists

from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    LetterFilter,
    LetterGroup,
    RedriveOrder,
)
from factory_runtime.domain.errors import (
    ApprovalNotFoundError,
    DeadLetterNotFoundError,
    NotFoundError,
    PermanentError,
    RedriveOrderNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run
from factory_runtime.run_store.groups import LetterCounts, groups_of_projects
from factory_runtime.run_store.paging import among, beyond, can_be_retried, equal, within
from factory_runtime.run_store.records import (
    APPROVALS,
    EFFECTS,
    FAILURE_KINDS,
    LETTERS,
    ORDERS,
    POLICIES,
    RUNS,
    VOTES,
)
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import (
    approvals,
    dead_letters,
    effects,
    failure_kinds,
    redrive_orders,
    runs,
    votes,
)
from factory_runtime.run_store.translate import translated


class Operators:
    """``ports.OperatorRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows
        self._counts = LetterCounts(rows)

    # dead letters

    def add_dead_letter(self, letter: DeadLetter) -> None:
        if not self._rows.insert_if_absent(LETTERS, letter):
            raise StaleVersionError(
                f"job {letter.step} of {letter.run_id} has a dead letter by now",
                hint="read it again",
            )
        self._counts.note(None, letter)

    def get_dead_letter(self, letter_id: str) -> DeadLetter:
        letter = self._rows.find(LETTERS, id=letter_id)
        if letter is None:
            raise DeadLetterNotFoundError(
                f"no dead letter {letter_id}", hint="`factory dead-letters list` shows them"
            )
        return letter

    def find_dead_letter(self, run_id: str, step: str) -> DeadLetter | None:
        return self._rows.find(LETTERS, run_id=run_id, step=step)

    def save_dead_letter(self, before: DeadLetter, after: DeadLetter) -> None:
        changes = LETTERS.changes(before, after)
        if not self._rows.change(LETTERS, changes, id=before.id, version=before.version):
            raise StaleVersionError(
                f"dead letter {before.id} changed meanwhile", hint="read it again"
            )
        self._counts.note(before, after)

    def list_dead_letters(
        self, where: LetterFilter, *, limit: int = 50, after: DeadLetter | None = None
    ) -> tuple[DeadLetter, ...]:
        conditions = _letters(where)
        failed_at, letter_id = dead_letters.c.failed_at, dead_letters.c.id
        if after is not None:
            conditions.append(beyond(failed_at, letter_id, after.failed_at, after.id, rising=False))
        order = (failed_at.desc(), letter_id.desc())
        return self._rows.list(LETTERS, *conditions, order_by=order, limit=limit)

    def count_dead_letters(self, where: LetterFilter) -> int:
        return self._rows.count(LETTERS, *_letters(where))

    def list_letter_groups(
        self, projects: Collection[str], *, limit: int = 200
    ) -> tuple[LetterGroup, ...]:
        connection, place, *_ = self._rows.everybody
        with translated(place):
            return groups_of_projects(connection, self._rows.tenant_id, projects, limit)

    def add_failure_kind(self, kind: FailureKind) -> bool:
        return self.find_failure_kind(kind.fingerprint) is None and self._rows.insert_if_absent(
            FAILURE_KINDS, kind
        )

    def find_failure_kind(self, fingerprint: str) -> FailureKind | None:
        return self._rows.find(FAILURE_KINDS, fingerprint=fingerprint)

    def find_fingerprints(
        self, prefix: str, limit: int, projects: Collection[str] | None = None
    ) -> tuple[str, ...]:
        fingerprint = failure_kinds.c.fingerprint
        like = [fingerprint >= prefix, fingerprint < prefix + "g"]  # behind all hex digits
        if projects is not None:
            seen_there = exists().where(
                dead_letters.c.tenant_id == failure_kinds.c.tenant_id,
                dead_letters.c.fingerprint == fingerprint,
                dead_letters.c.project_id.in_(projects),
            )
            like.append(seen_there)
        found = self._rows.list(FAILURE_KINDS, *like, order_by=(fingerprint,), limit=limit)
        return tuple(kind.fingerprint for kind in found)

    # redrive orders

    def add_redrive_order(self, order: RedriveOrder) -> None:
        self._rows.insert(ORDERS, [order])

    def find_redrive_order(self, order_id: str) -> RedriveOrder | None:
        return self._rows.find(ORDERS, id=order_id)

    def lock_redrive_order(self, order_id: str) -> RedriveOrder:
        self._rows.lock(ORDERS, id=order_id)
        order = self.find_redrive_order(order_id)
        if order is None:
            raise RedriveOrderNotFoundError(f"no redrive order {order_id}")
        return order

    def save_redrive_order(self, order: RedriveOrder) -> None:
        before = order.version - 1
        if not self._rows.change(ORDERS, ORDERS.row_of(order), id=order.id, version=before):
            raise StaleVersionError(f"redrive order {order.id} changed meanwhile")

    def list_redrive_orders(
        self,
        *,
        projects: Collection[str] | None = None,
        limit: int = 50,
        after: RedriveOrder | None = None,
    ) -> tuple[RedriveOrder, ...]:
        where = among(redrive_orders.c.project_id, projects)
        age = (redrive_orders.c.requested_at, redrive_orders.c.id)
        if after is not None:
            where.append(beyond(*age, after.requested_at, after.id, rising=False))
        order = tuple(column.desc() for column in age)
        return self._rows.list(ORDERS, *where, order_by=order, limit=limit)

    # approvals

    def add_approval(self, approval: Approval) -> Approval:
        if self._rows.insert_if_absent(APPROVALS, approval):
            return approval
        stands = self._rows.find(
            APPROVALS,
            run_id=approval.run_id,
            step=approval.step,
            plan_digest=approval.plan_digest,
            cycle=approval.cycle,
        )
        if stands is None:
            raise PermanentError(f"approval {approval.id} was not written")
        return stands

    def get_approval(self, approval_id: str) -> Approval:
        approval = self._rows.find(APPROVALS, id=approval_id)
        if approval is None:
            raise ApprovalNotFoundError(
                f"no approval {approval_id}", hint="`factory approvals list` shows them"
            )
        return approval

    def find_approval(self, run_id: str, step: str, plan_digest: str) -> Approval | None:
        asked = _asked_of(run_id, step, plan_digest)
        newest = self._rows.list(APPROVALS, *asked, order_by=(approvals.c.cycle.desc(),), limit=1)
        return newest[0] if newest else None

    def save_approval(self, before: Approval, after: Approval) -> None:
        changes = APPROVALS.changes(before, after)
        if not self._rows.change(APPROVALS, changes, id=before.id, version=before.version):
            raise StaleVersionError(f"approval {before.id} changed meanwhile", hint="read it again")

    def list_approvals(
        self,
        *,
        status: ApprovalStatus | None = None,
        run_id: str | None = None,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Approval | None = None,
    ) -> tuple[Approval, ...]:
        where = equal((approvals.c.status, status), (approvals.c.run_id, run_id))
        where += among(approvals.c.project_id, projects)
        order = (approvals.c.requested_at, approvals.c.id)
        if after is not None:
            where.append(beyond(*order, after.requested_at, after.id, rising=True))
        return self._rows.list(APPROVALS, *where, order_by=order, limit=limit)

    def add_vote(self, vote: Vote) -> bool:
        return self._rows.insert_if_absent(VOTES, vote)

    def list_votes(self, approval_id: str) -> tuple[Vote, ...]:
        order = (votes.c.at, votes.c.person)
        return self._rows.list(VOTES, votes.c.approval_id == approval_id, order_by=order)

    # undoing

    def find_undoing_run(self, run_id: str) -> Run | None:
        return self._rows.find(RUNS, undoes=run_id)

    def settle_effect(
        self,
        effect_key: str,
        kind: str,
        status: EffectStatus,
        at: datetime,
        *,
        reason: str | None = None,
        undone_by: str | None = None,
    ) -> None:
        which = (effects.c.effect_key == effect_key, effects.c.kind == kind)
        changes = {
            "status": status,
            "reason": reason,
            "settled_at": at,
            "undone_by": undone_by,
        }
        settled = self._rows.update(
            EFFECTS, changes, *which, effects.c.status != EffectStatus.UNDONE
        )
        if not settled and self._rows.find(EFFECTS, effect_key=effect_key, kind=kind) is None:
            raise NotFoundError(f"no effect {effect_key} ({kind})")

    # policies

    def find_policy(self) -> PolicyRecord | None:
        return self._rows.find(POLICIES)

    def save_policy(self, policy: PolicyRecord) -> None:
        if policy.version == 1:
            saved = self._rows.insert_if_absent(POLICIES, policy)
        else:
            row = POLICIES.row_of(policy)
            saved = self._rows.change(POLICIES, row, version=policy.version - 1) == 1
        if not saved:
            raise StaleVersionError(
                f"the policy of {policy.tenant_id} changed meanwhile", hint="read it again"
            )

    def count_runs_since(self, since: datetime) -> int:
        accepted = (runs.c.plan.is_not(None), runs.c.undoes.is_(None))
        return self._rows.count(RUNS, runs.c.requested_at >= since, *accepted)


def _asked_of(run_id: str, step: str, plan_digest: str) -> tuple[Condition, ...]:
    return (
        approvals.c.run_id == run_id,
        approvals.c.step == step,
        approvals.c.plan_digest == plan_digest,
    )


def _letters(where: LetterFilter) -> list[Condition]:
    columns = dead_letters.c
    conditions = equal(
        (columns.fingerprint, where.fingerprint),
        (columns.run_id, where.run_id),
        (columns.step, where.step),
        (columns.job_type, where.job_type),
        (columns.template_id, where.template_id),
        (columns.project_id, where.project_id),
    )
    conditions += among(columns.status, where.statuses or None)
    conditions += among(columns.project_id, where.projects)
    conditions += within(columns.failed_at, where.since, where.until)
    if where.can_go_round:
        of_it = (runs.c.tenant_id == columns.tenant_id, runs.c.id == columns.run_id)
        conditions.append(exists().where(*of_it, *can_be_retried()))
    return conditions
