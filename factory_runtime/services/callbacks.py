"""Callbacks: add, list and remove the addresses that are told when runs have ended."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from factory_runtime.domain.callback import MOST_OF_RUN, MOST_OF_TENANT, Callback
from factory_runtime.domain.errors import CallbackRefusedError, DataRefusedError, InputError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus
from factory_runtime.jobs.outside_http import Outside, check_url
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.leave_callbacks import leave_callback
from factory_runtime.services.secret_box import SecretBox

SETTING = "FACTORY_CALLBACK_HOSTS"

_ADDING = "callbacks"
"""The lock of who adds one of a tenant: two at once would both be its last."""
_TIME = timedelta(seconds=15)


def outside_of(hosts: Sequence[str]) -> Outside:
    """What callbacks may be sent to, and how much of an answer is read."""
    return Outside(hosts, SETTING, "callbacks may be sent to", 1024, _TIME, public=True)


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of all tenants.

    Attributes:
        hosts: that an operator has listed beside all public ones.
        open_box: what seals their secrets; opened where one is read or written.
    """

    store: RunStore
    clock: Clock
    hosts: Sequence[str]
    open_box: Callable[[], SecretBox]

    def add(
        self,
        tenant_id: str,
        by: str,
        url: str,
        project_id: str | None = None,
        statuses: Sequence[RunStatus] = (),
    ) -> tuple[Callback, str]:
        """A new callback, and the secret that its messages are signed with, told this once.

        Raises:
            CallbackRefusedError: the address may not be sent to.
            InputError: a status that no run ends in, or too many callbacks.
            SettingsError: there is nothing to seal secrets with.
        """
        self.check(url)
        if other := set(statuses) - RUN_ENDED:
            raise InputError(f"no run ends {', '.join(sorted(other))}")
        callback, secret = self._new(tenant_id, by, url)
        callback = replace(callback, project_id=project_id, statuses=tuple(statuses))
        with self.store.begin(tenant_id) as tx:
            # Whoever else adds one waits here until this one stands, or does not.
            tx.try_lock(_ADDING, callback.id, callback.created_at, callback.created_at)
            if (living := tx.count_callbacks()) >= MOST_OF_TENANT:
                raise InputError(
                    f"the tenant has {living} callbacks already",
                    hint="remove one that is not needed",
                )
            tx.add_callback(callback)
            tx.unlock(_ADDING, callback.id)
            facts = {"host": outside_name(url), "project": project_id}
            leave_audit(tx, by, "callback.add", callback.id, facts, callback.created_at)
        return callback, secret

    def list(self, tenant_id: str) -> tuple[Callback, ...]:
        """Those that are of no single run, the oldest first; removed ones too."""
        with self.store.begin(tenant_id, read_only=True) as tx:
            return tx.list_callbacks()

    def remove(self, tenant_id: str, by: str, callback_id: str) -> Callback:
        """Tell it no more, of what waits either; once more is no error.

        Raises:
            CallbackNotFoundError: no such callback.
        """
        with self.store.begin(tenant_id) as tx:
            callback = tx.get_callback(callback_id)
            if callback.disabled_at is not None:
                return callback
            now = self.clock.now()
            removed = replace(callback, disabled_at=now, reason=f"removed by {by}")
            tx.save_callback(removed)
            leave_audit(tx, by, "callback.remove", callback.id, {}, now)
        return removed

    def add_of_run(self, run: Run, by: str, url: str) -> str:
        """Have an address told of this run's end; the secret that the message is signed with.

        The same address once more gives the same secret. A run that has ended meanwhile is told of
        at once.

        Raises:
            CallbackRefusedError: the address may not be sent to.
            InputError: too many of one run.
        """
        self.check(url)
        callback, secret = self._new(run.tenant_id, by, url)
        callback = replace(callback, run_id=run.id)
        with self.store.begin(run.tenant_id) as tx:
            stands = tx.lock_run(run.id)
            others = tx.list_callbacks(run_id=run.id)
            if (same := next((one for one in others if one.url == url), None)) is not None:
                return self.open_box().unseal(same.secret)
            if len(others) >= MOST_OF_RUN:
                raise InputError(f"{run.id} has {len(others)} callbacks already")
            self._add_and_tell(tx, callback, stands)
        return secret

    def check(self, url: str) -> None:
        """See that an address could be told, as far as can be seen without asking anybody.

        Raises:
            CallbackRefusedError: it says by itself that none may be sent to it.
            SettingsError: there is nothing to seal its secret with.
        """
        self.open_box()
        try:
            check_url(outside_of(self.hosts), url)
        except DataRefusedError as error:
            raise CallbackRefusedError(str(error), hint=error.hint) from error

    def _add_and_tell(self, tx: RunTransaction, callback: Callback, run: Run) -> None:
        tx.add_callback(callback)
        if run.ended:
            leave_callback(tx, callback, run, callback.created_at)

    def _new(self, tenant_id: str, by: str, url: str) -> tuple[Callback, str]:
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        sealed, now = self.open_box().seal(secret), self.clock.now()
        return Callback(tenant_id, new_id("call"), url, sealed, now, by), secret


def outside_name(url: str) -> str:
    """The host of an address: the rest may hold a secret."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2][:200]
