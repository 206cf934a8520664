"""The git host of a run: the one that it began at, wherever its tenant's repositories go by now."""

from __future__ import annotations

from factory_runtime.domain.run import Run
from factory_runtime.ports import ChoiceOfHosts, GitHost


def host_of(host: GitHost, run: Run) -> GitHost:
    """Where the run's repositories are, and those of the run that it undoes."""
    if isinstance(host, ChoiceOfHosts) and run.git_host is not None:
        return host.at(run.git_host)
    return host


def choice_for(host: GitHost, tenant_id: str) -> str | None:
    """What a run that begins is to keep; None where there is no choice.

    Raises:
        PolicyUnavailableError: nobody can tell now. A run that began somewhere would be undone
            elsewhere.
    """
    return host.choice_of(tenant_id) if isinstance(host, ChoiceOfHosts) else None
