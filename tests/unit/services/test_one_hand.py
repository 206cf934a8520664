"""Who gives a key can come with it: to approvals, both ends of a chain of keys are one person."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.errors import ConflictError, NotAllowedError
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import Decided, decide
from tests.approvals import approval_of, asks, audit_of, votes_of, waiting
from tests.builders import TENANT, an_api_key
from tests.small_factory import SmallFactory

LATE = timedelta(hours=1)


@pytest.fixture
def small(tmp_path: Path) -> Generator[SmallFactory]:
    factory = SmallFactory(tmp_path / "templates")
    yield factory
    factory.store.close()


def say(
    factory: SmallFactory, person: str, *behind: str, granted: bool = True, count: int = 1
) -> Decided:
    """What a person says, with a key that came to them so, of a run that ada asks for."""
    with factory.store.begin(TENANT, read_only=True) as tx:
        asked = tx.list_approvals()
    if not asked:
        asked = (approval_of(factory, waiting(factory, asks(count=count))),)
    comment = "" if granted else "no"
    store, clock = factory.store, factory.clock
    return decide(store, clock, TENANT, asked[0].id, person, (), granted, comment, behind)


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("behind", [("ada",), ("mallory", "ada")])
def test_a_key_that_the_requester_gave_decides_nothing(
    small: SmallFactory, behind: tuple[str, ...], granted: bool
):
    with pytest.raises(NotAllowedError, match="grace has a key from ada, who asked for the run"):
        say(small, "grace", *behind, granted=granted)
    with small.store.begin(TENANT, read_only=True) as tx:
        (approval,) = tx.list_approvals()
        assert (approval.status, tx.list_votes(approval.id)) == (ApprovalStatus.OPEN, ())


@pytest.mark.parametrize("chain", [("grace", ()), ("mallory", ("grace", "root"))])
def test_who_gave_the_requester_their_key_decides_nothing(
    small: SmallFactory, chain: tuple[str, tuple[str, ...]]
):
    key = an_api_key(name="ada", created_by=chain[0], givers=chain[1])
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(key)
    with pytest.raises(NotAllowedError, match="grace gave a key to ada, who asked for the run"):
        say(small, "grace", "root")
    assert say(small, "linus", "root").approval.status is ApprovalStatus.GRANTED


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
def test_a_key_that_was_good_no_longer_when_the_run_was_requested_does_not_count(
    small: SmallFactory, end: str
):
    gone = an_api_key(name="ada", created_by="grace", **{end: small.clock.now() - LATE})
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(gone)
    assert say(small, "grace").approval.status is ApprovalStatus.GRANTED


def test_a_key_revoked_a_moment_before_may_have_been_used_still(small: SmallFactory):
    ended = small.clock.now() - timedelta(seconds=1)
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(an_api_key(name="ada", created_by="grace", revoked_at=ended))
    with pytest.raises(NotAllowedError):
        say(small, "grace")


def test_two_who_have_their_keys_from_one_are_two_and_it_is_seen(
    tmp_path: Path, database_store: SqlRunStore
):
    factory = SmallFactory(tmp_path / "templates", database_store)
    with factory.store.begin(TENANT) as tx:
        tx.add_api_key(an_api_key(name="ada", created_by="root"))
    decided = say(factory, "grace", "root", "boss")
    assert decided.approval.status is ApprovalStatus.GRANTED
    (vote,) = votes_of(factory, decided.approval)
    assert vote.behind == ("boss", "root")
    assert audit_of(factory, decided.approval)[0].detail["behind"] == ["boss", "root"]


@pytest.mark.parametrize(
    ("first", "second"), [(("grace",), ("linus", "grace")), (("grace", "linus"), ("linus",))]
)
def test_the_two_ends_of_a_chain_have_one_vote_and_may_still_deny(
    small: SmallFactory, first: tuple[str, ...], second: tuple[str, ...]
):
    assert say(small, *first, count=2).approval.status is ApprovalStatus.OPEN
    with pytest.raises(ConflictError, match="who has granted it already"):
        say(small, *second)
    assert say(small, *second, granted=False).approval.status is ApprovalStatus.DENIED
