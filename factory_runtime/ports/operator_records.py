"""What operators look at and decide: dead letters, orders, approvals, policies, the audit."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    LetterFilter,
    LetterGroup,
    RedriveOrder,
)
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run


class OperatorRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    # dead letters
    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Insert. A job has one letter: look for it with ``find_dead_letter`` first.

        Raises:
            StaleVersionError: the job has one by now.
        """
        ...

    def get_dead_letter(self, letter_id: str) -> DeadLetter:
        """Raises DeadLetterNotFoundError."""
        ...

    def find_dead_letter(self, run_id: str, step: str) -> DeadLetter | None: ...

    def save_dead_letter(self, before: DeadLetter, after: DeadLetter) -> None:
        """Compare-and-set on ``before.version``.

        Raises:
            StaleVersionError: somebody else changed it since it was read.
        """
        ...

    def list_dead_letters(
        self, where: LetterFilter, *, limit: int = 50, after: DeadLetter | None = None
    ) -> tuple[DeadLetter, ...]:
        """Newest failure first; ``after`` continues behind the last one of a page."""
        ...

    def count_dead_letters(self, where: LetterFilter) -> int: ...

    def list_letter_groups(
        self, projects: Collection[str], *, limit: int = 200
    ) -> tuple[LetterGroup, ...]:
        """Open dead letters of these projects by fingerprint, the largest group first.

        ``RunStore.letter_groups`` has those of all projects, and counts nothing for it.
        """
        ...

    def add_failure_kind(self, kind: FailureKind) -> bool:
        """Insert; True if the tenant has not seen this fingerprint before."""
        ...

    def find_failure_kind(self, fingerprint: str) -> FailureKind | None: ...

    def find_fingerprints(
        self, prefix: str, limit: int, projects: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """Of the kinds of failure that the tenant has seen, those that begin so; in order.

        ``prefix`` is of lower-case hex digits. None of the projects is all of them.
        """
        ...

    # redrive orders
    def add_redrive_order(self, order: RedriveOrder) -> None: ...

    def find_redrive_order(self, order_id: str) -> RedriveOrder | None: ...

    def lock_redrive_order(self, order_id: str) -> RedriveOrder:
        """The order, its row locked until the transaction ends.

        Raises:
            RedriveOrderNotFoundError: there is none.
        """
        ...

    def save_redrive_order(self, order: RedriveOrder) -> None:
        """Write an order that this transaction has locked."""
        ...

    def list_redrive_orders(
        self,
        *,
        projects: Collection[str] | None = None,
        limit: int = 50,
        after: RedriveOrder | None = None,
    ) -> tuple[RedriveOrder, ...]:
        """Newest first; ``after`` continues behind the last one of a page.

        ``projects`` leaves those of letters of all projects out too.
        """
        ...

    # approvals
    def add_approval(self, approval: Approval) -> Approval:
        """Insert; where the run, step, plan digest and cycle stand already, what stands."""
        ...

    def get_approval(self, approval_id: str) -> Approval:
        """Raises ApprovalNotFoundError."""
        ...

    def find_approval(self, run_id: str, step: str, plan_digest: str) -> Approval | None:
        """What was asked last for this plan."""
        ...

    def save_approval(self, before: Approval, after: Approval) -> None:
        """Compare-and-set on ``before.version``.

        Raises:
            StaleVersionError: somebody else changed it since it was read.
        """
        ...

    def list_approvals(
        self,
        *,
        status: ApprovalStatus | None = None,
        run_id: str | None = None,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Approval | None = None,
    ) -> tuple[Approval, ...]:
        """Oldest first; ``after`` continues behind the last one of a page."""
        ...

    def add_vote(self, vote: Vote) -> bool:
        """Insert; False where the person has voted already."""
        ...

    def list_votes(self, approval_id: str) -> tuple[Vote, ...]:
        """In the order they came."""
        ...

    # undoing
    def find_undoing_run(self, run_id: str) -> Run | None:
        """The run that undoes this one's effects."""
        ...

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
        """Write that an effect is UNDONE or ORPHANED. An orphan may become undone; not the reverse.

        Raises:
            NotFoundError: it was never intended.
        """
        ...

    # policies
    def find_policy(self) -> PolicyRecord | None: ...

    def save_policy(self, policy: PolicyRecord) -> None:
        """Insert version 1, or replace the version before this one.

        Raises:
            StaleVersionError: somebody else replaced it since it was read.
        """
        ...

    def count_runs_since(self, since: datetime) -> int:
        """Runs that were accepted since then: those with a plan that undo no other."""
        ...
