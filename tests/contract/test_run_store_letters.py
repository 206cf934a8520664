"""The run store's contract: dead letters, groups of them, and orders to send them round."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from random import Random
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    LetterFilter,
    LetterGroup,
    LetterStatus,
    OrderStatus,
)
from factory_runtime.domain.errors import (
    DeadLetterNotFoundError,
    InputError,
    RedriveOrderNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore, open_run_store
from tests.builders import (
    FINGERPRINT,
    TENANT,
    a_failure_kind,
    a_job,
    a_letter,
    a_redrive_order,
    a_run,
    after,
)

OTHER = "0" * 64


ANY = LetterFilter(statuses=())


def a_letter_of_its_run(store: RunStore, fingerprint: str) -> DeadLetter:
    run = a_run()
    with store.begin(TENANT) as tx:
        tx.add_run(run)
    return put(store, a_letter(a_job(run), fingerprint=fingerprint))


def put(store: RunStore, letter: DeadLetter) -> DeadLetter:
    with store.begin(letter.tenant_id) as tx:
        tx.add_dead_letter(letter)
    return letter


def move(store: RunStore, letter: DeadLetter, status: LetterStatus, **changes: Any) -> DeadLetter:
    moved = letter.move_to(status, **changes)
    with store.begin(letter.tenant_id) as tx:
        tx.lock_run(letter.run_id)
        tx.save_dead_letter(letter, moved)
    return moved


# --- dead letters


def test_a_dead_letter_comes_back_as_it_went_in(run_store: RunStore, job: Job) -> None:
    letter = a_letter(
        job,
        step="apply-domain[größe]",
        error="two\nlines — and “quotes”",
        with_=Body(inline={"a": [1, None, "ö"]}),
        traceback=Body(reference=BodyReference("c" * 64, 99_999)),
        checkpoint=7,
        cycle=2,
        redrives=3,
        order_id="order-1",
        closed_at=after(5),
        closed_by="grace",
        reason="nobody wants it",
        first_failed_at=after(-60),
    )
    put(run_store, letter)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_dead_letter(letter.id) == letter
        assert tx.find_dead_letter(job.run_id, letter.step) == letter
        assert tx.find_dead_letter(job.run_id, "another") is None
        with pytest.raises(DeadLetterNotFoundError):
            tx.get_dead_letter("letter-0")


def test_a_job_has_one_letter(run_store: RunStore, job: Job) -> None:
    letter = put(run_store, a_letter(job))
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.add_dead_letter(a_letter(job))
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_dead_letters(ANY) == (letter,)
    (group,) = run_store.letter_groups()
    assert group.letters == 1


def test_of_two_who_move_a_letter_one_is_told(run_store: RunStore, job: Job) -> None:
    letter = put(run_store, a_letter(job))
    moved = move(run_store, letter, LetterStatus.REDRIVEN)
    with pytest.raises(StaleVersionError):
        move(run_store, letter, LetterStatus.DISCARDED)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.get_dead_letter(letter.id) == moved


def test_letters_are_listed_newest_failure_first_in_pages(run_store: RunStore, run: Run) -> None:
    letters = [
        put(run_store, a_letter(a_job(run), step=f"s{n}", failed_at=after(n // 2)))
        for n in range(7)
    ]
    expected = sorted(letters, key=lambda one: (one.failed_at, one.id), reverse=True)
    seen = list[DeadLetter]()
    with run_store.begin(TENANT, read_only=True) as tx:
        while page := tx.list_dead_letters(ANY, limit=2, after=seen[-1] if seen else None):
            seen += page
    assert seen == expected


def test_letters_are_chosen_by_what_they_are(run_store: RunStore, run: Run) -> None:
    other = a_run()
    with run_store.begin(TENANT) as tx:
        tx.add_run(other)
    plain = put(run_store, a_letter(a_job(run)))
    odd = put(
        run_store,
        a_letter(
            a_job(other, type="template-layer"),
            fingerprint=OTHER,
            project_id="bank",
            template_id="other",
            failed_at=after(60),
            status=LetterStatus.DISCARDED,
        ),
    )
    choices = {
        LetterFilter(): [plain],
        LetterFilter(statuses=(LetterStatus.DISCARDED, LetterStatus.RESOLVED)): [odd],
        replace(ANY, fingerprint=OTHER): [odd],
        replace(ANY, run_id=run.id): [plain],
        replace(ANY, job_type="template-layer"): [odd],
        replace(ANY, template_id="other"): [odd],
        replace(ANY, project_id="bank"): [odd],
        replace(ANY, since=after(60)): [odd],
        replace(ANY, until=after(60)): [plain],
        replace(ANY, project_id="bank", run_id=run.id): [],
        ANY: [odd, plain],
    }
    with run_store.begin(TENANT, read_only=True) as tx:
        for where, expected in choices.items():
            assert list(tx.list_dead_letters(where)) == expected, where
            assert tx.count_dead_letters(where) == len(expected), where
        with pytest.raises(InputError):
            tx.list_dead_letters(ANY, limit=0)


def test_a_kind_of_failure_is_new_once(run_store: RunStore) -> None:
    kind = a_failure_kind()
    for is_new in (True, False):
        with run_store.begin(TENANT) as tx:
            assert tx.add_failure_kind(replace(kind, message=f"{is_new}")) is is_new
    with run_store.begin("umbrella") as tx:
        assert tx.add_failure_kind(replace(kind, tenant_id="umbrella"))
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.find_failure_kind(FINGERPRINT) == replace(kind, message="True")
        assert tx.find_failure_kind(OTHER) is None


def test_of_many_who_meet_a_kind_at_once_it_is_new_to_one(database_store: SqlRunStore) -> None:
    start = Barrier(4)

    def meet(_: int) -> bool:
        start.wait()
        with database_store.begin(TENANT) as tx:
            return tx.add_failure_kind(a_failure_kind())

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(meet, range(4))) == [False, False, False, True]


# --- groups of them


def test_open_letters_are_grouped_the_largest_group_first(run_store: RunStore) -> None:
    tenants = [f"tenant-{n:02}" for n in range(12)]
    for number, tenant in enumerate(tenants):
        run = a_run(tenant_id=tenant)
        with run_store.begin(tenant) as tx:
            tx.add_run(run)
            tx.add_failure_kind(a_failure_kind(tenant_id=tenant))
            tx.add_dead_letter(a_letter(a_job(run), failed_at=after(number)))
            tx.add_dead_letter(a_letter(a_job(run), step="b", failed_at=after(number)))
    with run_store.begin(tenants[0]) as tx:
        kind = a_failure_kind(tenant_id=tenants[0], fingerprint=OTHER, error_code="else")
        tx.add_failure_kind(kind)
        run = a_run(tenant_id=tenants[0])
        tx.add_run(run)
        tx.add_dead_letter(a_letter(a_job(run), fingerprint=OTHER, error_code="else"))
    large, small = run_store.letter_groups()
    assert large == LetterGroup(
        fingerprint=FINGERPRINT,
        job_type="repo-generation",
        error_code="host-rejected",
        message="the host refuses <value>",
        letters=24,
        runs=12,
        tenants=tuple(tenants[:10]),
        tenant_count=12,
        first_seen=after(0),
        last_seen=after(11),
    )
    assert (small.fingerprint, small.error_code, small.letters) == (OTHER, "else", 1)
    assert run_store.letter_groups(limit=1) == (large,)
    (own,) = run_store.letter_groups(tenant_id=tenants[3])
    assert (own.letters, own.runs, own.tenants, own.tenant_count) == (2, 1, (tenants[3],), 1)
    assert run_store.letter_groups(tenant_id="nobody") == ()
    groups = run_store.letter_groups(tenant_id=tenants[0])
    with run_store.begin(tenants[0], read_only=True) as tx:
        assert tx.list_letter_groups(("shop", "mill")) == groups
        assert tx.list_letter_groups(("shop",), limit=1) == groups[:1]
        assert tx.list_letter_groups(("mill",)) == ()


def counted(letters: Sequence[DeadLetter]) -> dict[str, tuple[int, int]]:
    """Letters and runs of each kind, by looking at every letter."""
    runs, numbers = defaultdict[str, set[str]](set), Counter[str]()
    for letter in letters:
        if letter.status is LetterStatus.OPEN:
            runs[letter.fingerprint].add(letter.run_id)
            numbers[letter.fingerprint] += 1
    return {fingerprint: (n, len(runs[fingerprint])) for fingerprint, n in numbers.items()}


@pytest.mark.parametrize("seed", range(3))
def test_groups_count_what_is_there_whatever_happens_to_letters(
    run_store: RunStore, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - chances that can be repeated
    runs = [a_run() for _ in range(3)]
    with run_store.begin(TENANT) as tx:
        for run in runs:
            tx.add_run(run)
    letters = dict[str, DeadLetter]()
    for number in range(40):
        prints = chance.choice(["a", "b"]) * 64
        if len(letters) < 6:
            run = chance.choice(runs)
            letter = put(run_store, a_letter(a_job(run), step=f"s{number}", fingerprint=prints))
        else:
            before = letters[chance.choice(sorted(letters))]
            letter = replace(
                before,
                version=before.version + 1,
                status=chance.choice(list(LetterStatus)),
                fingerprint=chance.choice([before.fingerprint, prints]),
                failed_at=after(number),
            )
            with run_store.begin(TENANT) as tx:
                tx.lock_run(letter.run_id)
                tx.save_dead_letter(before, letter)
        letters[letter.id] = letter
        groups = run_store.letter_groups()
        told = {group.fingerprint: (group.letters, group.runs) for group in groups}
        assert told == counted(list(letters.values()))


def test_letters_written_at_once_are_all_counted(database_store: SqlRunStore) -> None:
    runs = [a_run() for _ in range(8)]
    with database_store.begin(TENANT) as tx:
        for run in runs:
            tx.add_run(run)
    start = Barrier(len(runs))

    def write(run: Run) -> None:
        start.wait()
        with database_store.begin(TENANT) as tx:
            tx.lock_run(run.id)
            tx.add_dead_letter(a_letter(a_job(run)))

    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(write, runs))
    (group,) = database_store.letter_groups()
    assert (group.letters, group.runs) == (8, 8)


@pytest.mark.service
def test_two_who_meet_the_same_kinds_in_other_orders_do_not_wait_for_each_other(
    postgres_url: str,
) -> None:
    store = open_run_store(postgres_url)
    letters = {kind: [a_letter_of_its_run(store, kind * 64) for _ in range(2)] for kind in "12"}
    both = Barrier(2)

    def close(number: int) -> None:
        with store.begin(TENANT) as tx:
            for kind in ("12", "21")[number]:
                letter = letters[kind][number]
                tx.lock_run(letter.run_id)
                tx.save_dead_letter(letter, letter.move_to(LetterStatus.DISCARDED))
                both.wait(10)

    with closing(store), ThreadPoolExecutor(2) as pool:
        list(pool.map(close, range(2)))
        assert store.letter_groups() == ()


def test_letters_of_a_transaction_that_was_given_up_are_not_counted(
    run_store: RunStore, job: Job
) -> None:
    def give_up() -> None:
        with run_store.begin(TENANT) as tx:
            tx.add_dead_letter(a_letter(job))
            raise InputError("no")

    with pytest.raises(InputError):
        give_up()
    assert run_store.letter_groups() == ()


# --- redrive orders


def test_an_order_comes_back_as_it_was_saved(run_store: RunStore) -> None:
    order = a_redrive_order(
        change=Body(inline={"inputs": {"a": 1}}),
        canary_id="letter-1",
        job_type="repo-generation",
        template_id="microservice",
        project_id="shop",
        since=after(-9),
        until=after(9),
    )
    later = order.changed(
        status=OrderStatus.STOPPED, redriven=3, refused=2, error="no", finished_at=after(9)
    )
    with run_store.begin(TENANT) as tx:
        tx.add_redrive_order(order)
        assert tx.lock_redrive_order(order.id) == order
        tx.save_redrive_order(later)
    with run_store.begin(TENANT) as tx:
        assert tx.find_redrive_order(order.id) == tx.lock_redrive_order(order.id) == later
        assert tx.find_redrive_order("order-0") is None
        with pytest.raises(RedriveOrderNotFoundError):
            tx.lock_redrive_order("order-0")
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_redrive_order(order.changed(redriven=1))


def test_orders_are_listed_newest_first(run_store: RunStore) -> None:
    orders = [a_redrive_order(requested_at=after(n)) for n in (2, 1, 3)]
    with run_store.begin(TENANT) as tx:
        for order in orders:
            tx.add_redrive_order(order)
        assert tx.list_redrive_orders() == (orders[2], orders[0], orders[1])
        assert tx.list_redrive_orders(limit=1) == (orders[2],)
        assert tx.list_redrive_orders(after=orders[2]) == (orders[0], orders[1])
        mill = a_redrive_order(project_id="mill")
        tx.add_redrive_order(mill)
        assert tx.list_redrive_orders(projects=("mill",)) == (mill,)


def test_an_orders_counts_are_kept_by_who_holds_it(database_store: SqlRunStore) -> None:
    order = a_redrive_order()
    with database_store.begin(TENANT) as tx:
        tx.add_redrive_order(order)

    def count(_: int) -> None:
        with database_store.begin(TENANT) as tx:
            held = tx.lock_redrive_order(order.id)
            tx.save_redrive_order(held.changed(redriven=held.redriven + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(12)))
    with database_store.begin(TENANT, read_only=True) as tx:
        stands = tx.find_redrive_order(order.id)
    assert stands is not None
    assert (stands.redriven, stands.version) == (12, 13)
