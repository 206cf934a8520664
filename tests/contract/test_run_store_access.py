"""API keys in the store: found by their prefix, changed one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from factory_runtime.domain.errors import ApiKeyNotFoundError, ConflictError
from factory_runtime.ports import RunStore
from tests.builders import TENANT, after, an_api_key

OTHER = "umbrella"


def test_a_key_is_found_by_its_prefix_whoever_s_it_is(run_store: RunStore) -> None:
    ours = an_api_key(
        expires_at=after(60), last_used_at=after(1), replaces="key-0", givers=("root",)
    )
    theirs = an_api_key(tenant_id=OTHER, prefix="b" * 12)
    for key in (ours, theirs):
        with run_store.begin(key.tenant_id) as tx:
            tx.add_api_key(key)
    assert run_store.find_api_key(ours.prefix) == ours
    assert run_store.find_api_key(theirs.prefix) == theirs
    assert run_store.find_api_key("c" * 12) is None
    assert run_store.find_api_key("\x00' OR 1=1 --") is None


def test_a_prefix_is_one_key_s_over_all_tenants(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.add_api_key(an_api_key())
    with pytest.raises(ConflictError), run_store.begin(OTHER) as tx:
        tx.add_api_key(an_api_key(tenant_id=OTHER, id="key-9"))
    assert run_store.find_api_key("a" * 12) == an_api_key()


def test_a_key_is_replaced_by_one_other(run_store: RunStore) -> None:
    old, new = an_api_key(), an_api_key(id="key-2", prefix="b" * 12, replaces="key-1")
    with run_store.begin(TENANT) as tx:
        tx.add_api_key(old)
        assert tx.find_replacement(old.id) is None
        tx.add_api_key(new)
        assert tx.find_replacement(old.id) == new
    with pytest.raises(ConflictError), run_store.begin(TENANT) as tx:
        tx.add_api_key(replace(new, id="key-3", prefix="c" * 12))


def test_its_use_is_written_down_once_in_a_while_and_no_change_takes_it_back(
    run_store: RunStore,
) -> None:
    key = an_api_key()
    with run_store.begin(TENANT) as tx:
        tx.add_api_key(key)
        assert tx.touch_api_key(key.id, after(60), unless_since=after(0))
        assert not tx.touch_api_key(key.id, after(70), unless_since=after(10))
        assert tx.touch_api_key(key.id, after(130), unless_since=after(70))
        assert not tx.touch_api_key("key-9", after(130), unless_since=after(70))
        revoked = tx.lock_api_key(key.id).revoke("ada", after(200))
        tx.save_api_key(replace(revoked, last_used_at=None))
        assert tx.get_api_key(key.id) == replace(revoked, last_used_at=after(130))
        with pytest.raises(ApiKeyNotFoundError):
            tx.save_api_key(replace(revoked, id="key-9"))


def test_keys_are_listed_the_newest_first_and_those_that_are_good_alone(
    run_store: RunStore,
) -> None:
    made = [
        an_api_key(id="key-1", prefix="a" * 12, revoked_at=after(5), revoked_by="ada"),
        an_api_key(id="key-2", prefix="b" * 12, expires_at=after(60)),
        an_api_key(id="key-3", prefix="c" * 12),
    ]
    with run_store.begin(TENANT) as tx:
        for key in made:
            tx.add_api_key(key)
        assert tx.list_api_keys() == (made[2], made[1], made[0])
        assert tx.list_api_keys(limit=1, before_id="key-3") == (made[1],)
        assert tx.list_api_keys(good_at=after(59)) == (made[2], made[1])
        assert tx.list_api_keys(good_at=after(60)) == (made[2],)


def test_of_many_uses_at_once_one_is_written_down(database_store: RunStore) -> None:
    key = an_api_key()
    with database_store.begin(TENANT) as tx:
        tx.add_api_key(key)

    def touch(number: int) -> bool:
        with database_store.begin(TENANT, durable=False) as tx:
            return tx.touch_api_key(key.id, after(number), unless_since=after(-60))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(touch, range(8))) == 1
