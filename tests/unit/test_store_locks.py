"""Locks on renders: who took one gives it back, once."""

from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.settings import Settings
from tasks.locks import StoreLocks

KEY = "ab" * 32
HOLD = timedelta(minutes=1)


@pytest.fixture
def runtime(tmp_path: Path):
    runtime = open_runtime(Settings(home=tmp_path))
    yield runtime
    runtime.store.close()


def test_a_lock_belongs_to_one_holder_until_it_is_given_back(runtime: Runtime):
    one, other = (StoreLocks(runtime, "local", HOLD) for _ in range(2))
    assert one.acquire_lock(KEY, "one")
    assert not other.acquire_lock(KEY, "other", acquire_timeout=0)
    one.release_lock(KEY, "one")
    assert other.acquire_lock(KEY, "other", acquire_timeout=0)


def test_a_lock_given_back_twice_stays_with_its_next_holder(runtime: Runtime):
    one, other = (StoreLocks(runtime, "local", HOLD) for _ in range(2))
    one.acquire_lock(KEY, "one")
    one.release_lock(KEY, "one")
    assert other.acquire_lock(KEY, "one", acquire_timeout=0)
    one.release_lock(KEY, "one")
    assert other.is_lock_holder(KEY, "one")
    assert not one.acquire_lock(KEY, "next", acquire_timeout=0)


def test_a_lock_is_given_back_by_nobody_else(runtime: Runtime):
    one, other = (StoreLocks(runtime, "local", HOLD) for _ in range(2))
    one.acquire_lock(KEY, "one")
    other.release_lock(KEY, "one")
    one.release_lock(KEY, "other")
    assert one.is_lock_holder(KEY, "one")


def test_a_lock_of_one_tenant_is_free_for_another(runtime: Runtime):
    assert StoreLocks(runtime, "one", HOLD).acquire_lock(KEY, "holder")
    assert StoreLocks(runtime, "other", HOLD).acquire_lock(KEY, "holder", acquire_timeout=0)


def test_the_lock_of_a_killed_holder_expires(runtime: Runtime):
    killed, next_ = (StoreLocks(runtime, "local", HOLD) for _ in range(2))
    assert killed.acquire_lock(KEY, "killed", hold_timeout=0)
    assert not next_.is_locked(KEY)
    assert next_.acquire_lock(KEY, "next", acquire_timeout=0)
