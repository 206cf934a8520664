"""What somebody may see, and may do it to: their rights in a project decide, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.approval import Approval
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.callback import Callback
from factory_runtime.domain.dead_letter import DeadLetter, RedriveOrder
from factory_runtime.domain.errors import (
    ApprovalNotFoundError,
    ArtifactNotFoundError,
    CallbackNotFoundError,
    DeadLetterNotFoundError,
    ForbiddenError,
    HoldNotFoundError,
    NotFoundError,
    RedriveOrderNotFoundError,
    RunNotFoundError,
    WebhookNotFoundError,
)
from factory_runtime.domain.hold import Hold
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.ports import RunTransaction


class _OfProject(Protocol):
    @property
    def project_id(self) -> str | None: ...


T = TypeVar("T", bound=_OfProject)


def visible_projects(principal: Principal, right: Right = Right.READ) -> tuple[str, ...] | None:
    """The projects in which they have this right; None is all of the tenant's."""
    projects = principal.projects(right)
    return None if projects is None else tuple(sorted(projects))


def visible_run(
    tx: RunTransaction, principal: Principal, run_id: str, right: Right = Right.READ
) -> Run:
    """The run, where the principal may see it and has this right in its project.

    Raises:
        RunNotFoundError: no such run for this tenant, or in a project that they may not see: nobody
            can tell which.
        ForbiddenError: they may see it, but not do this.
    """
    run = tx.get_run(run_id)
    if not principal.may(Right.READ, run.project_id):
        raise RunNotFoundError(run_id)
    principal.require(right, run.project_id)
    return run


def visible_letter(
    tx: RunTransaction, principal: Principal, letter_id: str, right: Right = Right.READ
) -> DeadLetter:
    """Raises DeadLetterNotFoundError, ForbiddenError: as ``visible_run``."""
    missing = DeadLetterNotFoundError(
        f"no dead letter {letter_id}", hint="`factory dead-letters list` shows them"
    )
    return _visible(lambda: tx.get_dead_letter(letter_id), principal, right, missing)


def visible_order(
    tx: RunTransaction, principal: Principal, order_id: str, right: Right = Right.READ
) -> RedriveOrder:
    """An order of letters of all projects is for who has the right in all of them.

    Raises:
        RedriveOrderNotFoundError, ForbiddenError: as ``visible_run``.
    """
    missing = RedriveOrderNotFoundError(f"no redrive order {order_id}")

    def get() -> RedriveOrder:
        if (order := tx.find_redrive_order(order_id)) is None:
            raise missing
        return order

    return _visible(get, principal, right, missing)


def visible_approval(
    tx: RunTransaction, principal: Principal, approval_id: str, right: Right = Right.READ
) -> Approval:
    """Raises ApprovalNotFoundError, ForbiddenError: as ``visible_run``."""
    missing = ApprovalNotFoundError(
        f"no approval {approval_id}", hint="`factory approvals list` shows them"
    )
    return _visible(lambda: tx.get_approval(approval_id), principal, right, missing)


def visible_artifact(
    tx: RunTransaction, principal: Principal, artifact_id: str, right: Right = Right.READ
) -> Artifact:
    """Raises ArtifactNotFoundError, ForbiddenError: as ``visible_run``."""
    missing = ArtifactNotFoundError(f"no artifact {artifact_id}")
    return _visible(lambda: tx.get_artifact(artifact_id), principal, right, missing)


def visible_hold(
    tx: RunTransaction, principal: Principal, hold_id: str, right: Right = Right.READ
) -> Hold:
    """Raises HoldNotFoundError, ForbiddenError: as ``visible_run``."""
    missing = HoldNotFoundError(
        f"no hold {hold_id}", hint="`factory artifacts holds` shows those that stand"
    )
    return _visible(lambda: tx.get_hold(hold_id), principal, right, missing)


def visible_source(
    tx: RunTransaction, principal: Principal, named: str, right: Right = Right.READ
) -> WebhookSource:
    """By its id or its name.

    Raises:
        WebhookNotFoundError, ForbiddenError: as ``visible_run``.
    """
    missing = WebhookNotFoundError(
        f"no source of webhooks {named}", hint="`factory webhooks list` shows them"
    )
    return _visible(lambda: tx.get_webhook_source(named), principal, right, missing)


def visible_callback(
    tx: RunTransaction, principal: Principal, callback_id: str, right: Right = Right.READ
) -> Callback:
    """One that is told of all runs is for who has the right in all projects.

    Raises:
        CallbackNotFoundError, ForbiddenError: as ``visible_run``.
    """
    missing = CallbackNotFoundError(
        f"no callback {callback_id}", hint="`factory callbacks list` shows them"
    )
    return _visible(lambda: tx.get_callback(callback_id), principal, right, missing)


def require_in(principal: Principal, right: Right, project_id: str | None) -> None:
    """Raises ForbiddenError where they lack the right in the project; None is in all of them."""
    if not _has(principal, right, project_id):
        where = f"tenant {principal.tenant_id}" if project_id is None else f"project {project_id}"
        raise ForbiddenError(
            f"{principal.name} may not {right} in all of {where}",
            hint="name a project in which you may" if project_id is None else None,
        )


def _visible(get: Callable[[], T], principal: Principal, right: Right, missing: NotFoundError) -> T:
    """``missing`` stands for what is not there and for what they may not see alike."""
    try:
        found = get()
    except type(missing):
        raise missing from None
    if not _has(principal, Right.READ, found.project_id):
        raise missing
    require_in(principal, right, found.project_id)
    return found


def _has(principal: Principal, right: Right, project_id: str | None) -> bool:
    projects = principal.projects(right)
    return projects is None or project_id in projects


def may_stop(principal: Principal, run: Run) -> bool:
    """Whether they may cancel, pause or resume it: who operates may, and who asked for it."""
    asked = principal.may(Right.REQUEST, run.project_id) and run.requested_by == principal.name
    return asked or principal.may(Right.OPERATE, run.project_id)
