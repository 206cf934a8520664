"""What somebody may see, and may do it to: their rights in a project decide, in one place."""

from __future__ import annotations

from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.errors import RunNotFoundError
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction


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


def may_stop(principal: Principal, run: Run) -> bool:
    """Whether they may cancel, pause or resume it: who operates may, and who asked for it."""
    asked = principal.may(Right.REQUEST, run.project_id) and run.requested_by == principal.name
    return asked or principal.may(Right.OPERATE, run.project_id)
