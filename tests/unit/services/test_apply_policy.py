"""Policies in the table: checked before they are stored, versioned, audited."""

from __future__ import annotations

import threading

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    InvalidPolicyError,
    NotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.apply_policy import Applied, apply_policy, remove_policy
from tests.builders import NOON, TENANT
from tests.small_factory import SettableClock

ONE, OTHER = b"weight: 1\n", b"weight: 2\n"


def put(store: SqlRunStore, body: bytes, by: str = "ada", expected: int | None = None) -> Applied:
    return apply_policy(store, SettableClock(), TENANT, body, by, expected=expected)


def take_out(store: SqlRunStore, expected: int | None = None) -> Applied:
    return remove_policy(store, SettableClock(), TENANT, "ada", expected=expected)


def stands(store: SqlRunStore) -> PolicyRecord | None:
    with store.begin(TENANT, read_only=True) as tx:
        return tx.find_policy()


def audited(store: SqlRunStore) -> list[tuple[str, str, int]]:
    with store.begin(TENANT, read_only=True) as tx:
        entries = tx.list_audit(subject=TENANT)
    return sorted((e.action, e.actor, e.detail["version"]) for e in entries)


def test_an_applied_policy_stands_with_its_version_and_who_applied_it(run_store: SqlRunStore):
    first = put(run_store, ONE).record
    assert (first.version, first.document, first.updated_by) == (1, "weight: 1\n", "ada")
    assert (first.updated_at, len(first.digest)) == (NOON, 64)
    second = put(run_store, OTHER, by="bob").record
    assert stands(run_store) == second
    assert audited(run_store) == [("policy.apply", "ada", 1), ("policy.apply", "bob", 2)]


def test_the_same_policy_applied_again_changes_nothing(run_store: SqlRunStore):
    first = put(run_store, ONE)
    again = put(run_store, ONE, by="bob")
    assert (first.changed, again.changed) == (True, False)
    assert again.record == first.record
    assert len(audited(run_store)) == 1


def test_a_policy_with_mistakes_is_not_applied(run_store: SqlRunStore):
    put(run_store, ONE)
    with pytest.raises(InvalidPolicyError) as caught:
        put(run_store, b"weight: 0\nquotas: 3\n")
    assert len(caught.value.problems) == 2
    assert stands(run_store) == put(run_store, ONE).record


def test_a_policy_that_is_too_large_is_not_applied(run_store: SqlRunStore):
    with pytest.raises(InputError, match="64 KiB"):
        put(run_store, ONE + b"#" * 70_000)
    assert stands(run_store) is None


def test_a_removed_policy_leaves_its_version_behind(run_store: SqlRunStore):
    put(run_store, ONE)
    assert take_out(run_store).record.version == 2
    assert put(run_store, ONE).record.version == 3
    assert [action for action, _, _ in audited(run_store)].count("policy.remove") == 1


def test_what_is_not_there_cannot_be_removed(run_store: SqlRunStore):
    for _ in range(2):
        with pytest.raises(NotFoundError):
            take_out(run_store)
    put(run_store, ONE)
    take_out(run_store)
    with pytest.raises(NotFoundError):
        take_out(run_store)


def test_only_the_version_that_was_looked_at_is_replaced(run_store: SqlRunStore):
    with pytest.raises(StaleVersionError, match="version 0 of the policy of acme stands, not 1"):
        put(run_store, ONE, expected=1)
    put(run_store, ONE, expected=0)
    put(run_store, OTHER)
    with pytest.raises(StaleVersionError):
        put(run_store, ONE, expected=1)
    with pytest.raises(StaleVersionError):
        take_out(run_store, expected=1)
    assert put(run_store, ONE, expected=2).record.version == 3


def test_of_policies_applied_at_once_each_version_is_made_once(database_store: SqlRunStore):
    results: list[Applied | FactoryError] = []
    barrier = threading.Barrier(4)

    def apply(number: int) -> None:
        barrier.wait()
        try:
            results.append(put(database_store, f"weight: {number}\n".encode(), by=f"p{number}"))
        except FactoryError as error:
            results.append(error)

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    applied = [one.record for one in results if isinstance(one, Applied)]
    refused = [one for one in results if isinstance(one, StaleVersionError)]
    assert len(applied) + len(refused) == 4
    assert sorted(one.version for one in applied) == list(range(1, len(applied) + 1))
    last = max(applied, key=lambda one: one.version)
    assert stands(database_store) == last
    assert [(by, version) for _, by, version in audited(database_store)] == sorted(
        (one.updated_by, one.version) for one in applied
    )


def test_of_two_who_replace_the_same_version_one_is_refused(database_store: SqlRunStore):
    put(database_store, ONE)
    with database_store.begin(TENANT, read_only=True) as tx:
        seen = tx.find_policy()
    assert seen is not None
    put(database_store, OTHER)
    with pytest.raises(StaleVersionError), database_store.begin(TENANT) as tx:
        tx.save_policy(PolicyRecord(TENANT, seen.version + 1, "{}", "e" * 64, NOON, "bob"))
    assert stands(database_store) == put(database_store, OTHER).record
