"""Put a tenant's policy into the table, or take it out; every change is audited."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from factory_runtime.compiler.policy_file import load_policy
from factory_runtime.domain.errors import InputError, NotFoundError, StaleVersionError
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.read_policy import TABLE

MAX_DOCUMENT = 64 * 1024
"""Bytes of one in the table: dispatchers read those of all tenants every few seconds."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A policy as it stands in the table now.

    Attributes:
        changed: False where the very same stood there already.
    """

    record: PolicyRecord
    changed: bool


def apply_policy(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    body: bytes,
    by: str,
    *,
    file: str = "the policy",
    expected: int | None = None,
) -> Applied:
    """Replace the tenant's policy in the table.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose policy.
        body: its YAML.
        by: who applies it.
        file: what to call it in problems.
        expected: the version that it replaces; 0 is none. None replaces whatever stands.

    Raises:
        InvalidPolicyError: it has mistakes, all of which are named; nothing was changed.
        InputError: it is too large for the table.
        StaleVersionError: another version stands, or somebody else replaces it at this moment.
    """
    load_policy(body, file, TABLE)
    if len(body) > MAX_DOCUMENT:
        raise InputError(
            f"{file} is larger than {MAX_DOCUMENT // 1024} KiB",
            hint="put it into the policy folder as a file instead",
        )
    return _replace(store, clock, tenant_id, body.decode(), by, "policy.apply", expected)


def remove_policy(
    store: RunStore, clock: Clock, tenant_id: str, by: str, *, expected: int | None = None
) -> Applied:
    """Take the tenant's policy out of the table. Its versions go on: the next is one more.

    Raises:
        NotFoundError: there is none.
        StaleVersionError: as ``apply_policy``.
    """
    with store.begin(tenant_id, read_only=True) as tx:
        stands = tx.find_policy()
    if stands is None or not stands.document:
        raise NotFoundError(
            f"tenant {tenant_id} has no policy in the table",
            hint="`factory policy show` tells where its rules come from",
        )
    return _replace(store, clock, tenant_id, "", by, "policy.remove", expected)


def _replace(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    document: str,
    by: str,
    action: str,
    expected: int | None,
) -> Applied:
    digest = hashlib.sha256(document.encode()).hexdigest()
    with store.begin(tenant_id) as tx:
        stands = tx.find_policy()
        version = 0 if stands is None else stands.version
        if expected is not None and expected != version:
            raise StaleVersionError(
                f"version {version} of the policy of {tenant_id} stands, not {expected}",
                hint="look at what changed, then apply yours to it",
            )
        if stands is not None and stands.document == document:
            return Applied(stands, changed=False)
        now = clock.now()
        record = PolicyRecord(tenant_id, version + 1, document, digest, now, by)
        tx.save_policy(record)
        leave_audit(
            tx,
            by,
            action,
            tenant_id,
            {
                "version": record.version,
                "digest": digest,
                "before": None if stands is None else stands.digest,
            },
            now,
        )
    return Applied(record, changed=True)
