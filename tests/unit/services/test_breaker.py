"""Hosts that are down are left alone, but for one attempt now and then."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count, pairwise
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    HostBusyError,
    HostDownError,
    HostRejectedError,
    JobTimeoutError,
    LeaseLostError,
    StoreUnavailableError,
    TransientError,
)
from factory_runtime.domain.records import Breaker
from factory_runtime.ports import RunStore
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore
from factory_runtime.services.breaker import (
    FIRST,
    LONGEST,
    THRESHOLD,
    TRIAL,
    note_failure,
    note_success,
    open_until,
)
from tests.builders import NOON, TENANT, after

GIT = ("git",)
BUSY = HostBusyError("come back later")


@pytest.fixture
def store() -> Generator[InMemoryRunStore]:
    store = InMemoryRunStore()
    yield store
    store.close()


def ask(
    store: RunStore, now: datetime, hosts: tuple[str, ...] = GIT, tenant: str = TENANT
) -> datetime | None:
    with store.begin(tenant) as tx:
        return open_until(tx, hosts, now)


def fail(
    store: RunStore,
    now: datetime = NOON,
    *,
    times: int = 1,
    error: BaseException = BUSY,
    hosts: tuple[str, ...] = GIT,
    began_at: datetime | None = None,
) -> None:
    for _ in range(times):
        with store.begin(TENANT) as tx:
            note_failure(tx, hosts, error, now, began_at)


def succeed(store: RunStore, now: datetime, hosts: tuple[str, ...] = GIT) -> None:
    with store.begin(TENANT) as tx:
        note_success(tx, hosts, now)


def stands(store: RunStore, host: str = "git") -> Breaker | None:
    with store.begin(TENANT, read_only=True) as tx:
        return tx.find_breaker(host)


# --- opening


def test_it_opens_with_the_fifth_failure_in_a_row(store: InMemoryRunStore):
    fail(store, times=THRESHOLD - 1)
    assert ask(store, NOON) is None
    fail(store)
    assert ask(store, NOON) == NOON + FIRST
    assert stands(store) == Breaker(TENANT, "git", THRESHOLD, NOON, NOON + FIRST)


def test_an_answer_between_failures_sets_the_count_back(store: InMemoryRunStore):
    fail(store, times=THRESHOLD - 1)
    succeed(store, after(1))
    fail(store, times=THRESHOLD - 1)
    assert ask(store, after(2)) is None


@pytest.mark.parametrize(
    "error",
    [
        HostDownError("not asked"),
        HostRejectedError("no"),
        TransientError("something else"),
        JobTimeoutError("too slow"),
        StoreUnavailableError("our own"),
        LeaseLostError("lost"),
        CancelledError("stop"),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_only_a_host_that_is_down_or_busy_counts(store: InMemoryRunStore, error: BaseException):
    fail(store, times=2 * THRESHOLD, error=error)
    assert stands(store) is None


def test_each_failure_beyond_doubles_the_time_up_to_ten_minutes(store: InMemoryRunStore):
    fail(store, times=THRESHOLD - 1)
    pauses: list[float] = []
    now = NOON
    for _ in range(9):
        fail(store, now)
        later = ask(store, now)
        assert later is not None
        pauses.append((later - now).total_seconds())
        now = later
        assert ask(store, now) is None  # and this one fails as well
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600, 600]


def test_the_time_stays_bounded_however_often_it_fails(store: InMemoryRunStore):
    with store.begin(TENANT) as tx:
        tx.save_breaker(Breaker(TENANT, "git", 1_000_000, NOON, NOON))
    fail(store)
    assert ask(store, NOON) == NOON + LONGEST


@pytest.mark.parametrize(("asked", "pause"), [(0, 15), (10, 15), (90, 90), (3600, 600), (-5, 15)])
def test_what_the_host_asks_for_is_honoured_within_bounds(
    store: InMemoryRunStore, asked: int, pause: int
):
    error = HostBusyError("busy", retry_after=timedelta(seconds=asked))
    fail(store, times=THRESHOLD, error=error)
    assert ask(store, NOON) == after(pause)


def test_below_the_threshold_nobody_is_kept_away_by_what_the_host_asks_for(store: InMemoryRunStore):
    fail(store, error=HostBusyError("busy", retry_after=timedelta(seconds=90)))
    assert ask(store, NOON) is None


def test_attempts_that_began_before_it_opened_do_not_lengthen_it(store: InMemoryRunStore):
    # Twenty were under way when the host went down: that is one outage, not fifteen tries.
    for seconds in range(20):
        fail(store, after(30 + 0.1 * seconds), began_at=after(seconds))
    opened = after(30 + 0.1 * (THRESHOLD - 1))
    assert ask(store, after(32)) == opened + FIRST


def test_attempts_that_began_before_the_one_that_tries_do_not_answer_for_it(
    store: InMemoryRunStore,
):
    fail(store, times=THRESHOLD)
    tried = NOON + FIRST
    assert ask(store, tried) is None
    fail(store, tried + timedelta(seconds=1), began_at=after(-60))
    assert ask(store, tried) == tried + TRIAL
    fail(store, tried + timedelta(seconds=2), began_at=tried)
    assert ask(store, tried) == tried + timedelta(seconds=2) + 2 * FIRST


# --- trying again


def test_when_its_time_has_run_out_one_tries_and_the_others_keep_away(store: InMemoryRunStore):
    fail(store, times=THRESHOLD)
    tried = NOON + FIRST
    assert [ask(store, tried) for _ in range(3)] == [None, tried + TRIAL, tried + TRIAL]


def test_an_answer_to_the_one_that_tries_lets_all_in(store: InMemoryRunStore):
    fail(store, times=THRESHOLD)
    assert ask(store, NOON + FIRST) is None
    succeed(store, after(16))
    assert [ask(store, after(16)) for _ in range(3)] == [None] * 3
    assert stands(store) == Breaker(TENANT, "git", 0, after(16))


def test_one_that_tries_and_is_never_heard_of_again_is_followed_by_another(store: InMemoryRunStore):
    fail(store, times=THRESHOLD)
    assert ask(store, NOON + FIRST) is None
    assert ask(store, NOON + FIRST + TRIAL) is None


def test_an_attempt_that_is_not_begun_after_all_has_not_tried(store: InMemoryRunStore):
    fail(store, times=THRESHOLD)
    with suppress(StoreUnavailableError), store.begin(TENANT) as tx:
        assert open_until(tx, GIT, NOON + FIRST) is None
        raise StoreUnavailableError("the claim was not committed")
    assert ask(store, NOON + FIRST) is None


def test_a_time_beyond_reach_was_written_by_a_wrong_clock_and_keeps_nobody_away(
    store: InMemoryRunStore,
):
    fail(store, NOON + timedelta(days=365), times=THRESHOLD)
    assert ask(store, NOON) is None
    assert ask(store, NOON) == NOON + TRIAL


# --- several hosts, several tenants


def test_an_attempt_waits_for_the_last_of_its_hosts(store: InMemoryRunStore):
    fail(store, times=THRESHOLD, hosts=("git",))
    fail(store, after(5), times=THRESHOLD, hosts=("azure",))
    assert ask(store, after(6), ("azure", "git", "mail")) == after(5) + FIRST
    # One has run out and one has not: then nobody tries, and the first stays to be tried.
    assert ask(store, after(16), ("git", "azure")) == after(5) + FIRST
    assert ask(store, after(16), ("git",)) is None


def test_one_that_needs_two_hosts_tries_both(store: InMemoryRunStore):
    fail(store, times=THRESHOLD, hosts=("git", "azure", "git"))
    assert ask(store, after(20), ("azure", "git")) is None
    assert ask(store, after(20), ("git",)) == ask(store, after(20), ("azure",)) == after(20) + TRIAL
    succeed(store, after(21), ("git", "azure"))
    assert ask(store, after(21), ("azure", "git")) is None


def test_a_job_that_needs_no_host_never_waits(store: InMemoryRunStore):
    fail(store, times=THRESHOLD, hosts=())
    succeed(store, NOON, ())
    assert ask(store, NOON, ()) is None


def test_one_tenants_breaker_is_not_anothers(store: InMemoryRunStore):
    fail(store, times=THRESHOLD)
    assert ask(store, NOON, tenant="other") is None
    assert ask(store, NOON) is not None


def test_asking_and_answering_write_nothing_while_all_is_well(store: InMemoryRunStore):
    with store.begin(TENANT, read_only=True) as tx:  # it refuses to write
        assert open_until(tx, GIT, NOON) is None
        note_success(tx, GIT, NOON)
    fail(store)
    succeed(store, after(1))
    with store.begin(TENANT, read_only=True) as tx:
        assert open_until(tx, GIT, after(2)) is None
        note_success(tx, GIT, after(2))
    fail(store, after(3), times=THRESHOLD)
    with store.begin(TENANT, read_only=True) as tx:
        assert open_until(tx, GIT, after(4)) is not None


# --- many workers


def at_once(workers: int, task: Callable[[], datetime | None]) -> list[datetime | None]:
    together = Barrier(workers)

    def do(_: int) -> datetime | None:
        together.wait(10)
        return task()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(do, range(workers)))


def test_of_many_workers_at_once_one_tries(database_store: SqlRunStore):
    fail(database_store, times=THRESHOLD)
    tried = NOON + FIRST
    answers = at_once(6, lambda: ask(database_store, tried))
    assert sorted(answers, key=str) == [tried + TRIAL] * 5 + [None]


def test_failures_at_once_are_all_counted(database_store: SqlRunStore):
    fail(database_store)
    at_once(6, lambda: fail(database_store))
    breaker = stands(database_store)
    assert breaker is not None
    assert breaker.failures == 7


def test_first_failures_at_once_leave_one_breaker(database_store: SqlRunStore):
    at_once(6, lambda: fail(database_store))
    breaker = stands(database_store)
    assert breaker is not None
    assert 1 <= breaker.failures <= 6


# Workers take turns at whatever they do next: begin, fail with or without a wish, or let go of it
# for a reason that says nothing of the host.
MOVES = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["busy", "wish", "other"]),
        st.sampled_from([0, 1, 7, 14, 16, 29, 31, 250, 700]),
    ),
    min_size=20,
    max_size=60,
)


@pytest.fixture
def new_host() -> Callable[[], str]:
    numbers = count()
    return lambda: f"host-{next(numbers)}"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES, st.booleans())
def test_a_host_that_is_down_is_asked_once_in_each_open_time(
    store: InMemoryRunStore,
    new_host: Callable[[], str],
    moves: list[tuple[int, str, int]],
    tells_when_it_began: bool,
):
    errors: dict[str, FactoryError] = {
        "busy": BUSY,
        "wish": HostBusyError("busy", retry_after=timedelta(minutes=2)),
        "other": HostRejectedError("no"),
    }
    hosts, now, at_work = (new_host(),), NOON, dict[int, datetime]()
    counted, opened, tries = 0, None, list[datetime]()
    for worker, how, seconds in moves:
        now += timedelta(seconds=seconds)
        if worker in at_work:
            began_at = at_work.pop(worker)
            counted += how != "other"
            began = began_at if tells_when_it_began else None
            fail(store, now, error=errors[how], hosts=hosts, began_at=began)
            opened = now if opened is None and counted == THRESHOLD else opened
            continue
        later = ask(store, now, hosts)
        if opened is None:
            assert later is None  # nobody is kept away from a host that is up
        if later is None:
            at_work[worker] = now
            tries += [now] if opened else []
        else:
            assert now < later <= now + LONGEST
    if opened and tries:
        assert tries[0] >= opened + FIRST
    assert all(later - earlier >= TRIAL for earlier, later in pairwise(tries))
