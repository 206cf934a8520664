"""Seal what the audit has got: the one writer of its chains, behind whoever leaves entries."""

from __future__ import annotations

import logging
from datetime import timedelta

from factory_runtime.domain.audit import AuditSeal, seal_digest
from factory_runtime.domain.errors import PermanentError, StaleVersionError
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import Clock, RunStore

_LOG = logging.getLogger("factory.sweep")
_BATCH = 500
_MOST = 20_000
"""Entries in one call: whoever is far behind catches up over several sweeps."""
_LOCK = "audit-seal"
_LEASE = timedelta(minutes=1)


def seal_audit(store: RunStore, clock: Clock, most: int = _MOST) -> int:
    """Close the chains of all tenants over what waits, in batches; how many entries were sealed.

    Any number of these may be at it at once. Each batch is one transaction: killed in it, nothing
    is sealed twice and nothing left out. A tenant's entry that cannot be read holds up its own chain,
    and no other.

    Raises:
        StoreUnavailableError: the store does not answer; what was sealed stays so.
    """
    done, tenant_id = 0, ""
    while done < most and (found := store.next_unsealed_tenant(tenant_id)) is not None:
        tenant_id = found
        try:
            while done < most and (sealed := _seal_batch(store, clock, tenant_id)) > 0:
                done += sealed
        except PermanentError:
            _LOG.exception("the audit of %s cannot be sealed", tenant_id)
    return done


def _seal_batch(store: RunStore, clock: Clock, tenant_id: str) -> int:
    try:
        with store.begin(tenant_id) as tx:
            now, holder = clock.now(), new_id("seal")
            # Taken and given back in this transaction: another sealer waits for its end, and then
            # sees this batch. The number of the seal, which is unique, is what keeps the chain one.
            if not tx.try_lock(_LOCK, holder, now, now + _LEASE):
                return 0
            entries, last = tx.unsealed_audit(_BATCH), tx.last_seal()
            first, digest = (last.number + 1, last.digest) if last is not None else (1, "")
            seals: list[AuditSeal] = []
            for number, entry in enumerate(entries, first):
                digest = seal_digest(digest, number, now, entry)
                seals.append(AuditSeal(tenant_id, number, entry.id, digest, now))
            tx.add_seals(seals)
            tx.unlock(_LOCK, holder)
    except StaleVersionError:
        return 0  # another one has sealed these
    return len(seals)
