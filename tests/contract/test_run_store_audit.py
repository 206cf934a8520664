"""The run store's contract: the audit, what waits for its seal, and the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.audit import AuditFilter
from factory_runtime.domain.errors import StaleVersionError
from factory_runtime.ports import RunStore
from tests.builders import TENANT, a_seal, after, an_audit_entry


def test_the_audit_is_listed_newest_first_by_what_it_says(run_store: RunStore) -> None:
    entries = [
        an_audit_entry(id=f"aud-{n}", at=after(n // 2), subject=f"letter-{n % 2}", detail={"ö": n})
        for n in range(4)
    ]
    entries[0] = replace(entries[0], actor="bob", origin="::1", key_id="key-1", trace_id="f" * 32)
    with run_store.begin(TENANT) as tx:
        tx.add_audit(entries)
        tx.add_audit([])
        assert tx.list_audit() == tuple(reversed(entries))
        assert tx.list_audit(subject="letter-1") == (entries[3], entries[1])
        assert tx.list_audit(AuditFilter(actor="bob")) == (entries[0],)
        assert tx.list_audit(AuditFilter(trace_id="f" * 32)) == (entries[0],)
        assert tx.list_audit(AuditFilter(action="run.cancel")) == ()
        early = AuditFilter(since=after(0), until=after(1))
        assert tx.list_audit(early) == (entries[1], entries[0])
        assert tx.list_audit(limit=2, before=entries[3]) == (entries[2], entries[1])


def test_an_entry_stands_for_good(run_store: RunStore) -> None:
    entry = an_audit_entry()
    with run_store.begin(TENANT) as tx:
        tx.add_audit([entry])
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.add_audit([replace(entry, actor="mallory")])
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_audit() == (entry,)


def test_an_entry_waits_until_it_is_sealed_and_is_sealed_once(run_store: RunStore) -> None:
    first, second = an_audit_entry(id="aud-1"), an_audit_entry(id="aud-2")
    with run_store.begin(TENANT) as tx:
        tx.add_audit([second, first])
        assert tx.unsealed_audit(1) == (first,)
        assert tx.unsealed_audit(9) == (first, second)
    assert run_store.next_unsealed_tenant("") == TENANT
    with run_store.begin(TENANT) as tx:
        tx.add_seals([a_seal(first)])
        assert tx.count_unsealed() == 1
    seal = a_seal(second, number=2)
    with run_store.begin(TENANT) as tx:
        tx.add_seals([seal])
        assert tx.unsealed_audit(9) == ()
        assert tx.last_seal() == seal
        assert tx.list_seals(after=1, limit=9) == (seal,)
        assert tx.stray_audit(9) == ()
    assert run_store.next_unsealed_tenant("") is None
    for again in (seal, replace(seal, number=3)):
        with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
            tx.add_seals([again])
