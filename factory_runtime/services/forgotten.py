"""Whether a run is to be forgotten: what is still on its way of it is then not learned."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import ForgetScope
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunTransaction


def is_forgotten(tx: RunTransaction, run: Run) -> bool:
    """Whether the run, its project or its tenant was forgotten after the run had ended.

    One that went round again since, and ended later, is learned anew.
    """
    at = forgotten_at(tx, run)
    return at is not None and (run.completed_at or run.updated_at) <= at


def forgotten_at(tx: RunTransaction, run: Run) -> datetime | None:
    """When the run, its project or its tenant was last forgotten; what ended later is not meant."""
    scopes = (
        (ForgetScope.RUN, run.id),
        (ForgetScope.PROJECT, run.project_id),
        (ForgetScope.TENANT, ""),
    )
    found = (tx.find_forgotten(scope, key) for scope, key in scopes)
    return max((one.at for one in found if one is not None), default=None)


def refuse_what_is_being_forgotten(tx: RunTransaction, project_id: str | None) -> None:
    """Before something is added to a project, or to no one's: it would be erased with the rest.

    Raises:
        MemoryUnavailableError: the project, or all of the tenant, is being forgotten just now.
    """
    scopes = [(ForgetScope.TENANT, "")]
    if project_id is not None:
        scopes.append((ForgetScope.PROJECT, project_id))
    for scope, key in scopes:
        found = tx.find_forgotten(scope, key)
        if found is not None and not found.is_done:
            raise MemoryUnavailableError(
                f"the {scope.value} {key or tx.tenant_id} is being forgotten",
                hint="try again in a minute",
            )
