"""Each tenant's own git host, as its policy and the settings name it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from factory_runtime.domain.policy import LOCAL_HOST
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.opening import OpenedHost
from factory_runtime.ports import (
    Clock,
    Commit,
    CommitOrder,
    Delivery,
    GitHost,
    HostFindings,
    Inspectable,
    Repository,
    RepositoryCopies,
)

FRESH = timedelta(seconds=30)
"""How long a host is kept open before its block is read again: a token may have been changed."""


@dataclass(frozen=True, slots=True)
class _Kept:
    opened: OpenedHost
    at: datetime


class ChosenHosts:
    """Implements ``GitHost`` and ``ChoiceOfHosts``: what is asked for a tenant is asked of its host.

    Args:
        choice_of: tenant → ``local``, or ``block:NAME``.
        open_host: opens what a choice names, for one tenant.
        clock: tells how long one has been open.

    Raises, from every method beside what the host raises: HostBusyError where nobody says what a
    block holds; InputError where there is none that the tenant may use; PolicyUnavailableError.
    """

    name = "chosen"

    def __init__(
        self,
        local: GitHost,
        choice_of: Callable[[str], str],
        open_host: Callable[[str, str], OpenedHost],
        clock: Clock,
    ) -> None:
        self._local = local
        self._choice_of = choice_of
        self._open_host = open_host
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._opening = threading.Lock()

    def choice_of(self, tenant_id: str) -> str:
        return self._choice_of(tenant_id)

    def at(self, choice: str) -> ChosenHosts:
        kept = copy(self)  # with what is open already

        def chosen(tenant_id: str) -> str:
            del tenant_id
            return choice

        kept._choice_of = chosen
        return kept

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        return self._of(tenant_id).delivery_of(tenant_id)

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        return self._of(tenant_id).find_repository(tenant_id, project_id, name)

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        return self._of(tenant_id).ensure_repository(
            tenant_id, project_id, name, effect_key=effect_key, description=description
        )

    def find_adoptable(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        return self._of(tenant_id).find_adoptable(tenant_id, project_id, name)

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        return self._of(tenant_id).ensure_commit(tenant_id, order, files)

    def find_commit(
        self,
        tenant_id: str,
        project_id: str,
        repository: str,
        trailers: tuple[tuple[str, str], ...],
    ) -> Commit | None:
        return self._of(tenant_id).find_commit(tenant_id, project_id, repository, trailers)

    def remove_repository(
        self,
        tenant_id: str,
        project_id: str,
        name: str,
        *,
        effect_key: str,
        runs: frozenset[str],
    ) -> bool:
        return self._of(tenant_id).remove_repository(
            tenant_id, project_id, name, effect_key=effect_key, runs=runs
        )

    def revert_commit(self, tenant_id: str, order: CommitOrder, sha: str) -> Commit | None:
        return self._of(tenant_id).revert_commit(tenant_id, order, sha)

    def copies_of(self, tenant_id: str, project_id: str) -> Mapping[str, Path]:
        """As ``RepositoryCopies``. Raises TypeError: the tenant's host has no copies."""
        host = self._of(tenant_id)
        if not isinstance(host, RepositoryCopies):
            raise TypeError(f"{host.name} keeps no copies of repositories")
        return host.copies_of(tenant_id, project_id)

    def inspect(self, tenant_id: str, project_id: str) -> HostFindings | None:
        host = self._of(tenant_id)
        return host.inspect(tenant_id, project_id) if isinstance(host, Inspectable) else None

    def _of(self, tenant_id: str) -> GitHost:
        choice = self._choice_of(tenant_id)
        if choice == LOCAL_HOST:
            return self._local
        now = self._clock.now()
        with self._opening:
            kept = self._kept.get((tenant_id, choice))
            if kept is None or now - kept.at >= FRESH:
                kept = _Kept(self._open_host(tenant_id, choice), now)
                self._kept[tenant_id, choice] = kept
        return kept.opened.host
