"""Caps of topics: who may be at work, who waits, and who goes first."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import JobKey
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.breaker import THRESHOLD
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.end_run import end_run
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.topic_line import Line, TopicCaps, in_turn, stand
from factory_runtime.services.topic_slots import LATEST, STALE, UNREADABLE
from tests.builders import NOON, a_breaker, after
from tests.small_factory import Act, SmallFactory, steps


def capped(
    factory: SmallFactory,
    everybody: int | None = None,
    own: Mapping[str, int] | None = None,
    worker: str = "build-7:1",
) -> Engine:
    """An executor under caps of the topic ``act``."""

    def limits_of(tenant_id: str) -> Limits:
        mine = (own or {}).get(tenant_id)
        return Limits() if mine is None else Limits(topics={"act": mine})

    caps = {} if everybody is None else {"act": everybody}
    return replace(factory.engine_of(worker), limits_of=limits_of, topic_caps=caps)


def a_walk(factory: SmallFactory, tenant_id: str = "acme", **values: Any) -> Walk:
    factory.template(steps("a:", "b:", "c:"))
    factory.clock.pass_time(timedelta(milliseconds=1))
    run = factory.request(tenant_id=tenant_id, **values)
    return factory.take_up(run, f"flow-of-{run.id}")


def begun(engine: Engine, walk: Walk, name: str) -> Begun:
    found = begin_attempt(engine, walk, name)
    assert isinstance(found, Begun)
    return found


def refused(engine: Engine, walk: Walk, name: str) -> AnotherAttempt:
    found = begin_attempt(engine, walk, name)
    assert isinstance(found, AnotherAttempt)
    assert found.outcome is Outcome.WAITING
    assert engine.clock.now() < found.not_before <= engine.clock.now() + LATEST < NOON + STALE * 9
    return found


def wait_of(factory: SmallFactory, run: Run, step: str) -> TopicWait | None:
    with factory.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.find_topic_wait(run.id, step)


def finish(engine: Engine, walk: Walk, job: Begun) -> None:
    publish_attempt(engine, walk, job, None)


# --- the caps


def test_a_job_over_the_cap_of_all_waits_until_another_ends(factory: SmallFactory) -> None:
    engine = capped(factory, everybody=1)
    one, other = a_walk(factory), a_walk(factory, "other")
    first = begun(engine, one, "a")
    later = refused(engine, other, "a")
    assert "1 of 1 jobs of type act" in later.reason
    job = factory.jobs(other.run)["a"]
    assert (job.status, job.attempt, factory.attempts(other.run)) == (JobStatus.PENDING, 0, ())
    finish(engine, one, first)
    begun(engine, other, "a")
    assert wait_of(factory, other.run, "a") is None


def test_a_tenants_own_cap_holds_up_nobody_else(factory: SmallFactory) -> None:
    engine = capped(factory, own={"acme": 1})
    mine, theirs = a_walk(factory), a_walk(factory, "other")
    begun(engine, mine, "a")
    refused(engine, mine, "b")
    begun(engine, theirs, "a")
    begun(engine, theirs, "b")


def test_jobs_in_line_that_their_own_cap_keeps_there_are_in_nobodys_way(
    factory: SmallFactory,
) -> None:
    engine = capped(factory, everybody=2, own={"acme": 1})
    mine, theirs = a_walk(factory, priority=Priority.HIGH), a_walk(factory, "other")
    begun(engine, mine, "a")
    refused(engine, mine, "b")
    refused(engine, mine, "c")
    begun(engine, theirs, "a")


def test_the_urgent_go_first_and_then_those_who_came_first(factory: SmallFactory) -> None:
    engine = capped(factory, everybody=1)
    busy = a_walk(factory)
    first = begun(engine, busy, "a")
    low = a_walk(factory, priority=Priority.LOW)
    early, late = a_walk(factory), a_walk(factory)
    high = a_walk(factory, "other", priority=Priority.HIGH)
    for walk in (low, early, late, high):
        factory.clock.pass_time()
        refused(engine, walk, "a")
    finish(engine, busy, first)
    for walk in (high, early, late, low):
        for other in (low, late, early, high):
            if other is not walk and wait_of(factory, other.run, "a") is not None:
                refused(engine, other, "a")
        finish(engine, walk, begun(engine, walk, "a"))


def test_a_job_that_is_seen_no_more_holds_up_nobody_and_keeps_its_age(
    factory: SmallFactory,
) -> None:
    engine = capped(factory, everybody=1)
    busy, gone, patient = a_walk(factory), a_walk(factory), a_walk(factory)
    first = begun(engine, busy, "a")
    refused(engine, gone, "a")
    since = factory.clock.now()
    factory.clock.pass_time()
    refused(engine, patient, "a")
    finish(engine, busy, first)
    refused(engine, patient, "a")
    factory.clock.pass_time(STALE)
    second = begun(engine, patient, "a")
    refused(engine, gone, "a")
    wait = wait_of(factory, gone.run, "a")
    assert wait is not None
    assert (wait.since, wait.seen_at) == (since, factory.clock.now())
    finish(engine, patient, second)
    begun(engine, gone, "a")


def test_under_a_cap_of_nothing_no_job_starts(factory: SmallFactory) -> None:
    walk = a_walk(factory)
    refused(capped(factory, everybody=0), walk, "a")
    refused(capped(factory, own={"acme": 0}), walk, "b")


def test_a_cap_lowered_under_what_is_at_work_stops_nothing(factory: SmallFactory) -> None:
    walk = a_walk(factory)
    jobs = [begun(capped(factory, everybody=5), walk, name) for name in "ab"]
    lower = capped(factory, everybody=1)
    refused(lower, walk, "c")
    finish(lower, walk, jobs[0])
    refused(lower, walk, "c")
    finish(lower, walk, jobs[1])
    begun(lower, walk, "c")


def test_where_the_caps_cannot_be_read_no_job_starts(factory: SmallFactory) -> None:
    def limits_of(tenant_id: str) -> Limits:
        raise PolicyUnavailableError(f"the policy of {tenant_id} has a mistake in line 3")

    walk = a_walk(factory)
    later = begin_attempt(replace(capped(factory), limits_of=limits_of), walk, "a")
    assert isinstance(later, AnotherAttempt)
    assert later.not_before == factory.clock.now() + UNREADABLE
    assert "line 3" in later.reason
    begun(capped(factory), walk, "a")


def test_a_run_that_ends_waits_for_no_topic(factory: SmallFactory) -> None:
    engine = capped(factory, everybody=1)
    walk = a_walk(factory)
    begun(engine, walk, "a")
    refused(engine, walk, "b")
    assert wait_of(factory, walk.run, "b") is not None
    end_run(
        factory.store, factory.clock, "acme", walk.run.id, RunStatus.CANCELLED, "nobody wants it"
    )
    assert wait_of(factory, walk.run, "b") is None


def test_a_job_that_finds_no_room_is_not_the_one_that_tries_a_host(factory: SmallFactory) -> None:
    class Hosted(Act):
        facts = replace(Act.facts, hosts=("git",))

    factory.job_types["act"] = Hosted(factory.on)
    engine = capped(factory, everybody=1)
    walk = a_walk(factory)
    begun(engine, walk, "a")
    due = a_breaker(host="git", failures=THRESHOLD, open_until=factory.clock.now())
    with factory.store.begin("acme") as tx:
        tx.save_breaker(due)
    refused(engine, walk, "b")
    with factory.store.begin("acme", read_only=True) as tx:
        assert tx.find_breaker("git") == due
    begun(capped(factory), walk, "b")
    with factory.store.begin("acme", read_only=True) as tx:
        assert tx.find_breaker("git") != due


# --- exact, however many claim at once


CLAIMERS, CAP = 6, 2


@pytest.fixture
def on_database(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    return SmallFactory(tmp_path, database_store)


@pytest.mark.parametrize("own", [None, {"acme": CAP}], ids=["of all", "of the tenant"])
def test_claims_at_once_never_go_over_the_cap(
    on_database: SmallFactory, own: Mapping[str, int] | None
) -> None:
    factory = on_database
    walks = [a_walk(factory) for _ in range(CLAIMERS)]
    together = threading.Barrier(CLAIMERS)
    everybody = CAP if own is None else None

    def claim(number: int) -> Any:
        engine = capped(factory, everybody, own, worker=f"build-{number}:1")
        together.wait()
        return [begin_attempt(engine, walks[number], name) for name in "abc"]

    with ThreadPoolExecutor(CLAIMERS) as pool:
        found = [one for answers in pool.map(claim, range(CLAIMERS)) for one in answers]
    assert sum(isinstance(one, Begun) for one in found) == CAP
    assert sum(isinstance(one, AnotherAttempt) for one in found) == 3 * CLAIMERS - CAP
    with factory.store.begin_dispatch(read_only=True) as look:
        topic = look.topic("act")
        assert len(topic.at_work()) == CAP
        waits = topic.waits(factory.clock.now() - STALE)
    assert len({(wait.run_id, wait.step) for wait in waits}) == 3 * CLAIMERS - CAP


# --- the decision alone


def a_wait(number: int, tenant_id: str = "acme", **values: Any) -> TopicWait:
    values = {"priority": Priority.NORMAL, "since": after(number), **values}
    return TopicWait(tenant_id, f"run-{number}", "a", "act", seen_at=after(99), **values)


@given(
    tenants=st.lists(st.sampled_from("ABC"), max_size=12),
    working=st.lists(st.sampled_from("ABC"), max_size=6),
    everybody=st.one_of(st.none(), st.integers(0, 6)),
    own=st.dictionaries(st.sampled_from("ABC"), st.integers(0, 4)),
)
def test_those_who_may_start_fill_the_caps_and_never_go_over_them(
    tenants: list[str], working: list[str], everybody: int | None, own: dict[str, int]
) -> None:
    caps = TopicCaps(everybody, own)
    waits = [a_wait(number, tenant) for number, tenant in enumerate(tenants)]
    at_work = [JobKey(tenant, f"at-work-{number}", "a") for number, tenant in enumerate(working)]

    def has_room(tenant: str) -> bool:
        mine = sum(key.tenant_id == tenant for key in at_work)
        return (everybody is None or len(at_work) < everybody) and mine < own.get(tenant, 99)

    line = Line(tuple(at_work), waits)
    may = [wait for wait in in_turn(line, waits, caps) if stand(wait, line, caps).has_room]
    for wait in may:  # in their order: each of them finds the room that it was promised
        assert has_room(wait.tenant_id)
        at_work.append(JobKey(wait.tenant_id, wait.run_id, "a"))
    assert not any(has_room(wait.tenant_id) for wait in waits if wait not in may)
