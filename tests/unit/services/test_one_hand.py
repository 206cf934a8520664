"""Who gives a key can come with it: to approvals, both ends of a chain of keys are one person."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import ConflictError, NotAllowedError
from factory_runtime.domain.run import Run
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import Decided, decide
from factory_runtime.services.audit import acting
from factory_runtime.services.retry_run import retry_run
from tests.approvals import approval_of, asks, audit_of, go_on, vote, votes_of, waiting
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


@pytest.mark.parametrize("behind", [("ada",), ("mallory", "ada")])
def test_a_key_that_the_requester_gave_grants_nothing_and_may_deny(
    small: SmallFactory, behind: tuple[str, ...]
):
    with pytest.raises(NotAllowedError, match="grace has a key from ada, who asked for the run"):
        say(small, "grace", *behind)
    with small.store.begin(TENANT, read_only=True) as tx:
        (approval,) = tx.list_approvals()
        assert (approval.status, tx.list_votes(approval.id)) == (ApprovalStatus.OPEN, ())
    assert say(small, "grace", *behind, granted=False).approval.status is ApprovalStatus.DENIED


@pytest.mark.parametrize("chain", [("grace", ()), ("mallory", ("grace", "root"))])
def test_who_gave_the_requester_their_key_grants_nothing(
    small: SmallFactory, chain: tuple[str, tuple[str, ...]]
):
    key = an_api_key(name="ada", created_by=chain[0], givers=chain[1])
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(key)
    with pytest.raises(NotAllowedError, match="grace gave a key to ada, who asked for the run"):
        say(small, "grace", "root")
    assert say(small, "linus", "root").approval.status is ApprovalStatus.GRANTED


def test_nobody_is_shut_out_by_a_key_that_was_made_after_the_request(small: SmallFactory):
    waiting(small, asks())
    small.clock.pass_time(timedelta(microseconds=1))
    late = an_api_key(
        name="ada", created_by="mallory", givers=("grace",), created_at=small.clock.now()
    )
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(late)
    assert say(small, "grace").approval.status is ApprovalStatus.GRANTED


def test_the_key_that_the_run_was_asked_for_with_counts_though_clocks_differ(small: SmallFactory):
    made_at = small.clock.now() + timedelta(seconds=1)
    with small.store.begin(TENANT) as tx:
        tx.add_api_key(an_api_key(name="ada", created_by="grace", created_at=made_at))
    with acting(None, "key-1"), pytest.raises(NotAllowedError, match="gave a key to ada"):
        say(small, "grace")


def test_of_who_changed_the_plan_keys_count_that_were_made_until_people_were_asked_anew(
    small: SmallFactory,
):
    run = waiting(small, asks(by=["grace", "root"]))
    say(small, "grace", granted=False)
    go_on(small, run)
    made = [("root", "key-1", "b" * 12), ("grace", "key-2", "c" * 12)]
    for giver, id_, prefix in made:
        small.clock.pass_time()
        key = an_api_key(
            id=id_, prefix=prefix, name="linus", created_by=giver, created_at=small.clock.now()
        )
        with small.store.begin(TENANT) as tx:
            tx.add_api_key(key)
        if giver == "root":
            change_plan(small, run)
    again = approval_of(small, run)
    with pytest.raises(NotAllowedError, match="root gave a key to linus, who asked for the run or"):
        vote(small, again, "root")
    assert vote(small, again, "grace").approval.status is ApprovalStatus.GRANTED


def change_plan(factory: SmallFactory, run: Run) -> None:
    """As linus, and have people asked again."""
    changed = retry_run(
        factory.store,
        factory.clock,
        TENANT,
        run.id,
        "linus",
        desk=factory.desk,
        change=Change(timeout_seconds=77),
    )
    factory.attempt(factory.take_up(changed, str(run.flow_run_id)), "gate")


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
