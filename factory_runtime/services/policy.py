"""A tenant's policies: read from a file and from the table, both of which must allow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.errors import (
    InputError,
    PolicyUnavailableError,
    StoreUnavailableError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.policy import Expiry, Limits, NoticeRule, Policy, PolicyRecord
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.combined_policies import (
    combined_expiry,
    combined_limits,
    combined_notices,
    combined_shared_memory,
)
from factory_runtime.services.policy_check import (
    PolicyFacts,
    Ruling,
    count_day,
    refusals,
    rule_on,
)
from factory_runtime.services.policy_folder import DEFAULT, PolicyFolder, PolicyText
from factory_runtime.services.read_policy import policy_of_record, policy_of_text

FRESH = timedelta(seconds=3)
"""How long limits are taken as they were read: a dispatcher asks for them many times a second."""

_LOG = logging.getLogger("factory.policy")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a tenant's policies said when they could last be read.

    Attributes:
        whole: whether all of them could be read then.
        error: why they cannot be read now.
    """

    policies: tuple[Policy, ...]
    read_at: datetime
    whole: bool = True
    error: str | None = None


class PolicyBook:
    """Where policies are looked up. Safe to use from many threads.

    Args:
        store: opens the run store; it gives None where there is none yet, and so no table.
        folder: with ``<tenant>.yaml`` and ``default.yaml``, for tenants without one; None is no
            files.
        clock: tells how old is what was read.
    """

    def __init__(
        self, store: Callable[[], RunStore | None], folder: Path | None, clock: Clock
    ) -> None:
        self._store = store
        self._folder = None if folder is None else PolicyFolder(folder)
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._records: Mapping[str, PolicyRecord] = {}
        self._records_read_at: datetime | None = None

    def of(self, tenant_id: str) -> tuple[Policy, ...]:
        """The policies as they stand now, each of which must allow; without any, all is allowed.

        Reads the run store: call it outside of transactions.

        Raises:
            InputError: no tenant can be called that.
            PolicyUnavailableError: one of them cannot be read; the message says where it is broken.
        """
        text = self._find_text(tenant_id)
        found = (policy_of_text(text), self._policy_in_row(tenant_id))
        return tuple(policy for policy in found if policy is not None)

    def rule(
        self,
        tenant_id: str,
        facts: PolicyFacts,
        *,
        counts: bool = True,
        among: Sequence[Policy] | None = None,
    ) -> Ruling:
        """What the policies ask of a run that they allow.

        Args:
            tenant_id: whose policies.
            facts: of the request.
            counts: whether it counts against quotas; what ran before does not count again.
            among: the tenant's policies, as ``of`` gave them just now; None looks them up.

        Raises:
            PolicyRefusedError: they do not allow it; every rule that refuses is named.
            InputError, PolicyUnavailableError: as ``of``.
        """
        policies = self.of(tenant_id) if among is None else tuple(among)
        found = refusals(policies, facts)
        store = self._store()
        if counts and store is not None and any(one.runs_per_day is not None for one in policies):
            with store.begin(tenant_id, read_only=True) as tx:
                count_day(tx, policies, self._clock.now(), found)
        found.raise_any(f"{facts.template_id} {facts.template_version}")
        return rule_on(policies, facts)

    def limits_of(self, tenant_id: str) -> Limits:
        """The limits of all its policies together, some seconds old at most.

        While a policy is broken its last good limits go on, for runs that were accepted. Now and
        then it reads the run store: call it outside of transactions.

        Raises:
            PolicyUnavailableError: a policy is broken and none was read before. A process that
                begins now must not take a limit that it cannot read for none.
        """
        return combined_limits(_whole(self._recent(tenant_id)).policies)

    def notices_of(self, tenant_id: str) -> tuple[NoticeRule, ...]:
        """Where its notices go, as the policies stand now; while one is broken, its last good ones.

        A target that was applied before a run began hears of its end, however soon that is. Reads
        the run store: call it outside of transactions.

        Raises:
            PolicyUnavailableError: a policy is broken and none was read before.
        """
        return combined_notices(_whole(self._anew(tenant_id)).policies)

    def shared_memory_of(self, tenant_id: str) -> frozenset[Collection]:
        """What its searches look into of the memory that is shared; some seconds old at most.

        Raises:
            PolicyUnavailableError: a policy is broken and none was read before.
        """
        return combined_shared_memory(_whole(self._recent(tenant_id)).policies)

    def git_host_of(self, tenant_id: str) -> str | None:
        """Where its repositories are made, where a policy says so, as it stands now.

        A run keeps what is said as it begins. Of a file and the table, the file's counts. Reads the
        run store: call it outside of transactions.

        Raises:
            PolicyUnavailableError: a policy is broken and none was read before.
        """
        policies = _whole(self._anew(tenant_id)).policies
        return next((one.git_host for one in policies if one.git_host is not None), None)

    def tenants(self) -> tuple[str, ...]:
        """Those that have a policy of their own, in a file or the table, by name.

        Raises:
            PolicyUnavailableError: the folder of the files cannot be read.
        """
        files = () if self._folder is None else self._folder.paths()
        store = self._store()
        rows = () if store is None else store.policies()
        named = {path.stem for path in files if is_slug(path.stem)}
        return tuple(sorted((named | {row.tenant_id for row in rows}) - {DEFAULT}))

    def expiry_of(self, tenant_id: str) -> Mapping[ArtifactType, Expiry]:
        """How long what its jobs make is kept where they do not say; some seconds old at most.

        While a policy is broken its last good rules go on, and where there are none things are kept
        for good: no job that is done fails of it. Reads the run store: call it outside of
        transactions.
        """
        return combined_expiry(self._recent(tenant_id).policies)

    def broken(self) -> tuple[str, ...]:
        """Why policies cannot be read, of any tenant: a line each."""
        reads: list[Callable[[], object]] = []
        told: list[str] = []
        if self._folder is not None:
            try:
                reads += [_reader(self._folder, path) for path in self._folder.paths()]
            except PolicyUnavailableError as error:
                told.append(str(error))
        store = self._store()
        if store is not None:
            reads += [lambda r=record: policy_of_record(r) for record in store.policies()]
        for read in reads:
            try:
                read()
            except PolicyUnavailableError as error:
                told.append(str(error))
        return tuple(told)

    def _find_text(self, tenant_id: str) -> PolicyText | None:
        if not is_slug(tenant_id):
            raise InputError(
                f"{tenant_id!r} cannot be a tenant", hint="use lower-case letters, digits, - _ or ."
            )
        return None if self._folder is None else self._folder.find(tenant_id)

    def _recent(self, tenant_id: str) -> _Kept:
        with self._lock:
            now = self._clock.now()
            kept = self._kept.get(tenant_id)
            if kept is None or not kept.read_at <= now < kept.read_at + FRESH:
                kept = self._read_again(tenant_id, now, self._policy_among_all)
            return kept

    def _anew(self, tenant_id: str) -> _Kept:
        with self._lock:
            return self._read_again(tenant_id, self._clock.now(), self._policy_in_row)

    def _read_again(
        self, tenant_id: str, now: datetime, policy_in_table: Callable[[str], Policy | None]
    ) -> _Kept:
        before = self._kept.get(tenant_id)
        kept = self._kept[tenant_id] = self._read(tenant_id, before, now, policy_in_table)
        return kept

    def _read(
        self,
        tenant_id: str,
        before: _Kept | None,
        now: datetime,
        policy_in_table: Callable[[str], Policy | None],
    ) -> _Kept:
        good: list[Policy] = []
        errors: list[str] = []
        for read in (self._policy_in_folder, policy_in_table):
            try:
                policy = read(tenant_id)
            except (PolicyUnavailableError, StoreUnavailableError) as error:
                errors.append(str(error))
                continue
            if policy is not None:
                good.append(policy)
        if not errors:
            return _Kept(tuple(good), now)
        error = "; ".join(errors)
        if before is None or before.error != error:
            _LOG.error("what stands of the policy of %s goes on: %s", tenant_id, error)
        if before is not None and before.whole:
            return replace(before, read_at=now, error=error)
        return _Kept(tuple(good), now, whole=False, error=error)

    def _policy_in_folder(self, tenant_id: str) -> Policy | None:
        return policy_of_text(self._find_text(tenant_id))

    def _policy_in_row(self, tenant_id: str) -> Policy | None:
        store = self._store()
        if store is None:
            return None
        with store.begin(tenant_id, read_only=True) as tx:
            return policy_of_record(tx.find_policy())

    def _policy_among_all(self, tenant_id: str) -> Policy | None:
        """From one look for all tenants: a dispatcher asks for many of them at once."""
        now, read_at = self._clock.now(), self._records_read_at
        if read_at is None or not read_at <= now < read_at + FRESH:
            store = self._store()
            records = () if store is None else store.policies()
            self._records = {record.tenant_id: record for record in records}
            self._records_read_at = now
        return policy_of_record(self._records.get(tenant_id))


def _whole(kept: _Kept) -> _Kept:
    if not kept.whole:
        raise PolicyUnavailableError(kept.error or "the policy cannot be read")
    return kept


def _reader(folder: PolicyFolder, path: Path) -> Callable[[], object]:
    return lambda: policy_of_text(folder.read(path))
