"""The git host of a run: the one that it began at, wherever its tenant's repositories go by now."""

from __future__ import annotations

from factory_runtime.domain.errors import TransientError
from factory_runtime.domain.run import Run
from factory_runtime.ports import ChoiceOfHosts, GitHost


def host_of(host: GitHost, run: Run) -> GitHost:
    """Where the run's repositories are, and those of the run that it undoes."""
    if isinstance(host, ChoiceOfHosts) and run.git_host is not None:
        return host.at(run.git_host)
    return host


def choice_for(host: GitHost, tenant_id: str) -> str | None:
    """What a run that begins is to keep; None where nobody can tell now, or there is no choice."""
    if not isinstance(host, ChoiceOfHosts):
        return None
    try:
        return host.choice_of(tenant_id)
    except TransientError:
        return None  # its jobs will ask again, and wait for an answer
