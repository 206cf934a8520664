"""A Deployment: a template that Prefect offers to a tenant; our own record of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.run import Priority


@dataclass(frozen=True, slots=True)
class Deployment:
    """One for each template and tenant. Whose a run is that begins in Prefect is read here.

    Attributes:
        prefect_id: Prefect's id of it, a UUID. No two records have the same one.
        version: of the template, when it was deployed.
        schema_digest: SHA-256 of the schema that its form was made from, 64 hex digits.
        priority: of the runs that begin in it, and the work queue they are put into.
        withdrawn_at: since when a deploy of all has not found the template any more.
    """

    tenant_id: str
    template_id: str
    prefect_id: str
    version: str
    project_id: str
    schema_digest: str
    priority: Priority
    deployed_at: datetime
    deployed_by: str
    withdrawn_at: datetime | None = None


def queue_named(name: str) -> Priority:
    """The priority whose work queue has that name.

    Prefect makes a queue of any name without a word, and no worker may ever look at it.

    Raises:
        InputError: there is no such queue.
    """
    names = [priority.value for priority in Priority]
    if name in names:
        return Priority(name)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
    raise InputError(f"there is no work queue {name!r}", hint=hint)
